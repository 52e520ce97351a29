"""One training from config to run folder: the order of things, and how it ends."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from lightning_rec import assembly, config
from lightning_rec.data.datamodules import SequenceData
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.pipeline import Audited, load
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError
from lightning_rec.metrics.ranking import Ranks
from lightning_rec.reports.examples import catalogue, examples_of
from lightning_rec.reports.terminal import Example, show_run
from lightning_rec.runs import distributed, tracking
from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.logs import logging_to
from lightning_rec.tasks.sequence import SequenceTask


def train(cfg: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Train, evaluate and record ``cfg`` in ``folder``.

    Raises:
        UserError: on bad input, before any training.
    """
    parts = assembly.assemble(cfg)
    run = RunFolder.create(folder, cfg, overrides)
    with _recorded(run):
        _train(cfg, parts, run, checkpoint=None)


def resume(folder: Path, overrides: list[str]) -> None:
    """Go on from the last checkpoint of a run, with its own config and further value overrides.

    Raises:
        UserError: if ``folder`` is no run, is completed, or holds no checkpoint.
    """
    run = RunFolder.open(folder)
    cfg = changed(run.config, overrides)
    if run.card.get("status") == "completed" and cfg == run.config:
        raise UserError(f"{folder} is completed: raise trainer.max_epochs to go on training.")
    checkpoint = run.last_checkpoint
    parts = assembly.assemble(cfg)
    run.resume(cfg, overrides)
    with _recorded(run):
        _train(cfg, parts, run, checkpoint)


def worker(folder: Path) -> None:
    """A further process of a distributed training, started by the first one."""
    run = RunFolder.open(folder)
    checkpoint = run.last_checkpoint if run.card.get("earlier") else None
    with _recorded(run):
        _train(run.config, assembly.assemble(run.config), run, checkpoint)


def evaluate(folder: Path, overrides: list[str]) -> tuple[RunFolder, dict[str, float]]:
    """The figures of a completed run again, from its saved weights.

    Raises:
        UserError: if ``folder`` is no completed run, its weights do not fit, or its data changed.
    """
    run = RunFolder.open(folder)
    cfg = changed(run.config, overrides)
    with logging_to(None):
        parts = assembly.assemble(cfg)
        loaded = load(parts.source, parts.protocol, cache_dir())
        _check_data(run, parts, loaded)
        data = assembly.make_data(cfg, parts, loaded)
        task = assembly.make_task(cfg, parts, loaded, data)
        run.load_model(task.model)
        _evaluate(assembly.make_trainer(cfg, run.path, training=False), task, data)
    distributed.leave()
    return run, task.figures


def changed(cfg: DictConfig, overrides: list[str]) -> DictConfig:
    """Apply ``key.key=value`` overrides to a saved config.

    Raises:
        UserError: on an unknown key, or where a whole part would be chosen anew.
    """
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or OmegaConf.is_dict(OmegaConf.select(cfg, key)):
            raise UserError(
                f"'{override}' cannot be applied to a run that is there: only values can be "
                "changed, by their dotted key, as in trainer.max_epochs=80."
            )
    OmegaConf.set_struct(cfg, True)
    try:
        merged = OmegaConf.merge(cfg, OmegaConf.from_dotlist(overrides))
    except OmegaConfBaseException as error:
        raise config.unknown_key(error) from error
    assert isinstance(merged, DictConfig)
    return merged


@contextlib.contextmanager
def _recorded(run: RunFolder) -> Iterator[None]:
    """Keep the log; close the card, the trackers and the processes, however the run ends."""
    status, error = "failed", None
    with logging_to(run.path / "train.log"):
        try:
            yield
            status = "completed"
        except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns Ctrl-C into SystemExit
            status = "interrupted"
            raise KeyboardInterrupt(f"to go on: lightning-rec train resume={run.path}") from stop
        except BaseException as raised:
            error = raised
            raise
        finally:
            run.finish(status, error)
            tracking.close(failed=status != "completed")
            distributed.leave()


def _train(cfg: DictConfig, parts: assembly.Parts, run: RunFolder, checkpoint: Path | None) -> None:
    with run.timed("data"):
        loaded = load(parts.source, parts.protocol, cache_dir())
        data = assembly.make_data(cfg, parts, loaded)
    _describe(run, parts, loaded)
    with run.timed("start"), Console(stderr=True, quiet=not is_first()).status("starting trackers"):
        trainer = assembly.make_trainer(cfg, run.path, validates=loaded.split.val.size > 0)
        tracking.begin(trainer, _described(cfg, run))
        seed_everything(cfg.seed, workers=True, verbose=False)
        task = assembly.make_task(cfg, parts, loaded, data)
    if task.loss is not None:
        with run.timed("fit"), distributed.joined_by(run.path):
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        _take_best(trainer, task)
    run.save_model(task.model)
    with run.timed("evaluate"):
        _evaluate(trainer, task, data)
    columns = {type(task.model).__name__: task.figures}
    if cfg.baseline and task.loss is not None:
        with run.timed("baseline"):
            columns = _baseline(cfg, parts, loaded, data, trainer) | columns
    examples = examples_of(task, loaded, cfg.examples)
    _save(run, task, loaded, columns)
    tracking.end(trainer, _flat(columns), run.card["seconds"], examples)
    _show(run, columns, cfg.monitor, examples)


def _evaluate(trainer: Trainer, task: SequenceTask, data: SequenceData) -> None:
    """Validate and test with the weights as they are; the figures land in ``task.figures``."""
    with distributed.joined_by(Path(trainer.default_root_dir)):
        if data.split.val.size:
            trainer.validate(task, datamodule=data, verbose=False)
        trainer.test(task, datamodule=data, verbose=False)


def _take_best(trainer: Trainer, task: SequenceTask) -> None:
    """Load the weights with the best validation figure, if any validation took place."""
    best = Path(trainer.default_root_dir) / "checkpoints" / "best.ckpt"
    if best.is_file():
        saved = torch.load(best, map_location="cpu", weights_only=True)
        task.load_state_dict(saved["state_dict"])


def _baseline(
    cfg: DictConfig, parts: assembly.Parts, loaded: Audited, data: SequenceData, trainer: Trainer
) -> dict[str, dict[str, float]]:
    """Figures of the baseline on the same data and protocol; no tracker sees its steps."""
    task = assembly.make_baseline(cfg, parts, loaded, data)
    loggers, trainer.loggers = trainer.loggers, []
    _evaluate(trainer, task, data)
    trainer.loggers = loggers
    return {type(task.model).__name__: task.figures}


def _describe(run: RunFolder, parts: assembly.Parts, loaded: Audited) -> None:
    """Put data and protocol on the card. A resumed run must find the data it began with."""
    if run.card.get("earlier"):
        _check_data(run, parts, loaded)
    run.note(
        data=loaded.data.info["name"],
        data_hash=loaded.data.info["data_hash"],
        protocol=parts.protocol.settings(),
        protocol_hash=parts.protocol.hash(),
        split=loaded.split.counts,
        audit=loaded.facts,
    )


def _check_data(run: RunFolder, parts: assembly.Parts, loaded: Audited) -> None:
    now = {"data_hash": loaded.data.info["data_hash"], "protocol_hash": parts.protocol.hash()}
    for name, value in now.items():
        if run.card.get(name) not in (None, value):
            raise UserError(
                f"{name} of {run.path} is {run.card[name][:12]}, but here it is {value[:12]}: the "
                "data or the protocol is not the one the run was made with."
            )


def _described(cfg: DictConfig, run: RunFolder) -> dict[str, Any]:
    """What trackers are told: the config and what makes figures comparable."""
    settings = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    keys = ("config_hash", "data_hash", "protocol_hash", "environment_hash", "commit", "version")
    return {str(key): value for key, value in settings.items()} | {
        key: run.card[key] for key in keys
    }


def _flat(columns: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Figures of the model as they are, those of the baseline under its name."""
    *beside, own = columns
    flat = dict(columns[own])
    for name in beside:
        flat |= {f"{name.lower()}/{figure}": value for figure, value in columns[name].items()}
    return flat


def _save(
    run: RunFolder, task: SequenceTask, loaded: Audited, columns: Mapping[str, Mapping[str, float]]
) -> None:
    run.save_metrics(_flat(columns))
    run.save_table("test_users", _per_user(task.ranks["test"], loaded))
    run.save_table("items", catalogue(loaded))


def _per_user(ranks: Ranks, loaded: Audited) -> pl.DataFrame:
    """One row per test target; rank is null where the target was no candidate."""
    split: Split = loaded.split
    user = np.asarray(split.test.user)
    rank = pl.Series(ranks.rank.cpu().numpy())
    return pl.DataFrame(
        {
            "user": loaded.data.users["user"].gather(user.tolist()),
            "rank": rank.set(rank == 0, None),
            "candidates": ranks.candidates.cpu().numpy(),
            "history": np.asarray(split.test.end) - split.offsets[:-1][user],
        }
    )


@rank_zero_only
def _show(
    run: RunFolder,
    columns: Mapping[str, Mapping[str, float]],
    monitor: str,
    examples: list[Example],
) -> None:
    """Print the end of a run; in a sweep one line, since the table comes at its end."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        overrides = " ".join(run.card["overrides"])
        print(f"{run.path}  {monitor} {columns[[*columns][-1]].get(monitor, 0):.4f}  {overrides}")
        return
    seconds, hint = run.card["seconds"], tracking.sync_command()
    show_run(columns, monitor, examples, seconds, run.path, hint)
