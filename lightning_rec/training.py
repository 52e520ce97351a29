"""One training from config to run folder: the order of things, and how it ends."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import LightningDataModule, Trainer, seed_everything
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec import assembly, config
from lightning_rec.adapters.base import TUNED
from lightning_rec.assembly import Loaded, Problem
from lightning_rec.assembly.language import check_language
from lightning_rec.data.fetch import cache_dir
from lightning_rec.errors import UserError
from lightning_rec.reports import plots
from lightning_rec.reports.terminal import show_run
from lightning_rec.runs import distributed, tracking
from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.logs import logging_to
from lightning_rec.screen import Screen
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.examples import Example

log = logging.getLogger(__name__)


def train(cfg: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Train, evaluate and record ``cfg`` in ``folder``.

    Raises:
        UserError: on bad input, before any training.
    """
    problem = assembly.assemble(cfg)
    run = RunFolder.create(folder, cfg, overrides)
    with _recorded(run):
        _train(cfg, problem, run, checkpoint=None)


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
    problem = assembly.assemble(cfg)
    run.resume(cfg, overrides)
    with _recorded(run):
        _train(cfg, problem, run, checkpoint)


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
        problem = assembly.assemble(cfg)
        loaded = problem.load(cache_dir())
        _check_data(run, problem, loaded)
        check_language(run, cfg)
        data = problem.make_data(loaded)
        task = problem.make_task(loaded, data)
        if task.tuned is not None and task.tuned.partial:
            task.tuned.check_base(run.path / TUNED)
        run.load_model(task.model)
        trainer = assembly.make_trainer(cfg, run.path, training=False)
        _evaluate(trainer, task, data, validates=loaded.validates)
        problem.warn(task.figures)
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
        if "${" in override:
            raise UserError(f"{override}: ${{…}} is not resolved here: write the value itself.")
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


def _train(cfg: DictConfig, problem: Problem[Any], run: RunFolder, checkpoint: Path | None) -> None:
    with run.timed("data"):
        loaded = problem.load(cache_dir())
        data = problem.make_data(loaded)
    _describe(run, problem, loaded)
    with run.timed("start"), Screen(stderr=True, quiet=not is_first()).status("starting trackers"):
        trainer = assembly.make_trainer(cfg, run.path, validates=loaded.validates)
        tracking.begin(trainer, _described(cfg, run))
        seed_everything(cfg.seed, workers=True, verbose=False)
        task = problem.make_task(loaded, data)
    if task.trains and trainer.max_epochs != 0:
        with run.timed("fit"), distributed.joined_by(run.path):
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        run.note(cost=task.cost())
        _take_best(trainer, task)
        if task.tuned is not None:
            task.tuned.conclude()
    if loaded.validates and cfg.task.get("calibrate", "none") != "none":
        with run.timed("calibrate"):
            run.note(temperature=_calibrate(task, trainer, data))
    run.save_model(task.model)
    if task.tuned is not None and task.tuned.partial and is_first():
        task.tuned.save(run.path / TUNED)
    with run.timed("evaluate"):
        _evaluate(trainer, task, data, validates=loaded.validates)
    run.note(warnings=problem.warn(task.figures))
    columns = {task.title: task.figures}
    if task.trains and (baseline := problem.make_baseline(loaded, data)) is not None:
        with run.timed("baseline"):
            beside = _baseline(baseline, data, trainer, validates=loaded.validates)
        task.figures |= problem.beside(task.figures, baseline.figures)
        columns = beside | columns
    examples = problem.examples(task, loaded)
    run.save_metrics(_flat(columns))
    tables = problem.tables(task, loaded)
    for name, table in tables.items():
        run.save_table(name, table)
    if is_first():
        problem.leave(task, run.path)
    pictures = plots.draw(tables, run.path) if is_first() else {}
    figures, seconds = _flat(columns), run.card["seconds"]
    tracking.end(trainer, _described(cfg, run), cfg.monitor, figures, seconds, examples, pictures)
    _show(run, columns, cfg.monitor, examples)


def _evaluate(trainer: Trainer, task: Task, data: LightningDataModule, *, validates: bool) -> None:
    """Validate and test with the weights as they are; the figures land in ``task.figures``.

    No tracker sees its steps: figures of the end are told once, by :func:`tracking.end`.
    """
    loggers, trainer.loggers = trainer.loggers, []
    with distributed.joined_by(Path(trainer.default_root_dir)):
        if validates:
            trainer.validate(task, datamodule=data, verbose=False)
        trainer.test(task, datamodule=data, verbose=False)
    trainer.loggers = loggers


def _take_best(trainer: Trainer, task: Task) -> None:
    """Load the weights with the best validation figure, if any validation took place."""
    best = Path(trainer.default_root_dir) / "checkpoints" / "best.ckpt"
    if best.is_file():
        saved = torch.load(best, map_location="cpu", weights_only=True)
        task.load_state_dict(saved["state_dict"])


def _calibrate(task: Task, trainer: Trainer, data: LightningDataModule) -> dict[str, float]:
    """Fit what makes probabilities honest; no tracker sees the validation that it takes."""
    loggers, trainer.loggers = trainer.loggers, []
    with distributed.joined_by(Path(trainer.default_root_dir)):
        trainer.validate(task, datamodule=data, verbose=False)
    trainer.loggers = loggers
    return task.calibrate()


def _baseline(
    task: Task, data: LightningDataModule, trainer: Trainer, *, validates: bool
) -> dict[str, dict[str, float]]:
    """Figures of the baseline on the same data and protocol."""
    _evaluate(trainer, task, data, validates=validates)
    return {task.title: task.figures}


def _describe(run: RunFolder, problem: Problem[Any], loaded: Loaded) -> None:
    """Put data and protocol on the card. A resumed run must find the data it began with."""
    if run.card.get("earlier"):
        _check_data(run, problem, loaded)
    if language := check_language(run):
        run.note(language_hash=language)
    part = assembly.partial(problem.cfg)
    if part or run.card.get("partial"):
        run.note(partial=part)
    if part:
        log.warning(
            "Figures are of a part of the data alone (%s): their protocol has a hash of its own.",
            ", ".join(f"trainer.{key}={value}" for key, value in part.items()),
        )
    if catalogue := problem.catalogue_hash(loaded):
        run.note(catalogue_hash=catalogue)
    run.note(
        data=loaded.name,
        data_hash=loaded.data_hash,
        protocol=problem.protocol.settings(),
        protocol_hash=assembly.recorded_hash(problem.protocol.hash(loaded.counts), part),
        split=loaded.counts,
        audit=loaded.facts,
    )


def _check_data(run: RunFolder, problem: Problem[Any], loaded: Loaded) -> None:
    pure, part = problem.protocol.hash(loaded.counts), run.card.get("partial")
    now = {"data_hash": loaded.data_hash, "protocol_hash": assembly.recorded_hash(pure, part)}
    if problem.reads_catalogue and (catalogue := problem.catalogue_hash(loaded)):
        now["catalogue_hash"] = catalogue
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
    seen = run.card["protocol"].get("seen", "filter")
    show_run(columns, monitor, examples, seconds, run.path, hint, seen)
