"""Callbacks, loggers and the monitored figure, checked before any data is read."""

import inspect
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import callbacks as lightning
from pytorch_lightning.loggers import Logger

from lightning_rec import config, figures
from lightning_rec.documents import leaves
from lightning_rec.errors import UserError, suggest
from lightning_rec.runs.checkpoints import BEST, LAST, PREVIOUS
from lightning_rec.tasks.schedules import Plateau

IN_RUN = ("dirpath", "save_dir")  # null means: in the run folder
TRAINING = ("train/loss", "train/lr", "train/epoch_seconds")  # figures that every task logs
NAMES = ("filename", "name", "version")  # of callbacks and loggers, below their folder
# Where a run looks for its best weights and for what it goes on from.
FIXED: dict[str, dict[str, Any]] = {
    "best": {"dirpath": None, "filename": "best", "save_top_k": 1, "enable_version_counter": False},
    "last": {"dirpath": None},
}
NEED_LOGGER = (lightning.DeviceStatsMonitor, lightning.LearningRateMonitor)
RESERVED = [PurePath(name).stem for name in (BEST, LAST, PREVIOUS)]


def check_callbacks(settings: Mapping[str, Any]) -> None:
    """Check callbacks and loggers. Raises UserError naming the key and what it should be."""
    for name, node in (settings.get("logger") or {}).items():
        if node:
            _check_part(f"logger.{name}", node, Logger)
    for name, node in (settings.get("callbacks") or {}).items():
        if node:
            _check_part(f"callbacks.{name}", node, lightning.Callback)
            _check_files(name, node)
            live = {key: PurePath(name) for key in IN_RUN if node.get(key, "") is None}
            # The constructor knows best what it cannot do.
            made = config.build(f"callbacks.{name}", node, **live)
            if isinstance(made, lightning.StochasticWeightAveraging):
                raise UserError(
                    f"callbacks.{name} averages after the last validation, and the weights of the "
                    "best validation would take its place: use callbacks=[…,swa] or […,ema], "
                    "whose average is what is validated."
                )
            if isinstance(made, lightning.WeightAveraging) and node.get("use_buffers", True):
                raise UserError(
                    f"callbacks.{name}.use_buffers averages what metrics count with: say "
                    f"callbacks.{name}.use_buffers=false."
                )
            if isinstance(made, NEED_LOGGER) and not any((settings.get("logger") or {}).values()):
                raise UserError(
                    f"callbacks.{name}: a {type(made).__name__} writes to a logger, and "
                    "logger=none leaves none: say logger=csv."
                )


def check_monitor(cfg: DictConfig, known: list[str], *, validates: bool) -> None:
    """Check that the monitored figure is ``known``, and kept in the right direction.

    Raises UserError, also for a callback that watches another figure than there are.
    """
    monitor, declared = cfg.monitor, figures.declared(config.plain(cfg.get("metrics")))
    of = {name: declared.get(figures.parse(name).figure) for name in known}
    better = {name: figure.better for name, figure in of.items() if figure and figure.better}
    if not validates:
        if config.target("schedule", config.plain(cfg.schedule)) is Plateau:
            raise UserError(
                f"schedule=plateau watches {monitor}, but the protocol leaves no validation: say "
                "schedule=constant."
            )
        return
    if monitor not in better:
        told = suggest(monitor, better)
        raise UserError(f"monitor={monitor} is no figure of validation.{told}")
    if cfg.monitor_mode != (best := better[monitor]):
        raise UserError(
            f"monitor_mode={cfg.monitor_mode} would keep the weights with the worst {monitor}: say "
            f"monitor_mode={best}."
        )
    _check_schedule(cfg, better)
    _check_monitors(cfg, better)


def _check_schedule(cfg: DictConfig, better: Mapping[str, figures.Better]) -> None:
    """Raise UserError if a plateau is one of what nothing measures, or is the wrong way up."""
    schedule = config.plain(cfg.schedule)
    if config.target("schedule", schedule) is not Plateau:
        return
    watched, mode = schedule.get("monitor"), schedule.get("mode")
    if watched not in better:
        told = suggest(str(watched), better)
        raise UserError(f"schedule.monitor={watched} is no figure of validation.{told}")
    if mode != better[watched]:
        raise UserError(f"schedule.mode={mode}: of {watched} say {better[watched]}.")


def _check_monitors(cfg: DictConfig, better: Mapping[str, figures.Better]) -> None:
    """Raise UserError if a callback watches what nothing measures, or takes the worst for best."""
    for name, node in (cfg.get("callbacks") or {}).items():
        watched, key = (node or {}).get("monitor"), f"callbacks.{name}"
        if watched is None:
            continue
        if watched not in (*better, *TRAINING):
            told = suggest(str(watched), [*better, *TRAINING])
            raise UserError(f"{key}.monitor={watched} is no figure of validation.{told}")
        at_end = ("check_on_train_epoch_end", "save_on_train_epoch_end")
        if watched in TRAINING and not any(node.get(each) for each in at_end):
            raise UserError(
                f"{key}.monitor={watched} is not known yet when a validation ends, which is when "
                f"{key} looks: monitor a figure of validation."
            )
        mode = inspect.signature(config.target(key, config.plain(node))).parameters.get("mode")
        mode = node.get("mode", mode and mode.default)
        best = better.get(watched)
        if mode in ("min", "max") and best and mode != best:
            raise UserError(
                f"{key}.mode={mode} would take the worst {watched} for the best: say "
                f"{key}.mode={best}."
            )


def below(value: str) -> str:
    """A name that stays in its folder. Raises ValueError if it does not."""
    path = PurePath(value)
    if path.is_absolute() or ".." in path.parts or not value.isprintable():
        raise ValueError("it is a name, and must not lead out of its folder")
    if any(len(part.encode()) > 200 for part in path.parts):
        raise ValueError("it is longer than a file may be called")
    return value


def _check_part(node: str, settings: dict[str, Any], kind: type) -> None:
    for path, value in leaves(settings):
        if isinstance(value, float) and math.isnan(value):  # no comparison holds with it
            raise UserError(f"{node}.{path}={value}: it must be a number.")
    config.expect(node, settings, kind)
    absent = {key for key in IN_RUN if settings.get(key, "") is None}
    config.check(node, {key: value for key, value in settings.items() if key not in absent})
    for key in NAMES:
        try:
            below(str(settings.get(key) or ""))
        except ValueError as error:
            raise UserError(f"{node}.{key}={settings[key]}: {error}.") from None


def _check_files(name: str, settings: dict[str, Any]) -> None:
    """Raise UserError unless each checkpoint that a run reads is written where it looks."""
    for key, value in FIXED.get(name, {}).items():
        if settings.get(key, value) != value:
            raise UserError(
                f"callbacks.{name}.{key}={settings[key]} cannot be changed: the run would not find "
                f"its checkpoints/{name}.ckpt again."
            )
    made = config.target(f"callbacks.{name}", settings)
    if not (isinstance(made, type) and issubclass(made, lightning.ModelCheckpoint)):
        return
    if settings.get("save_last"):
        raise UserError(f"callbacks.{name}.save_last: callbacks.last writes {LAST}, for resume=.")
    if name != "best" and settings.get("filename") in RESERVED:
        raise UserError(
            f"callbacks.{name}.filename={settings['filename']} is that of another checkpoint of "
            "the run: choose another name."
        )
