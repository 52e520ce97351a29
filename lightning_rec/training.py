"""One training from config to run folder: the order of things, and how it ends."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec import config
from lightning_rec.adapters.base import TUNED
from lightning_rec.build import problem_of
from lightning_rec.build.agreement import check_data, check_read, check_withheld
from lightning_rec.build.trainer import make_trainer, partial, recorded_hash, unwatched
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.batches import BatchData
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.fetch import cache_dir
from lightning_rec.problems.base import Problem
from lightning_rec.reports import plots
from lightning_rec.reports.terminal import show_run
from lightning_rec.runs import checksums, distributed, tracking
from lightning_rec.runs.checkpoints import BEST
from lightning_rec.runs.course import check_course, tell_untrained, training_warnings
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.foreign import check_addresses, unaddressed, unquoted
from lightning_rec.runs.locks import one_writer
from lightning_rec.runs.logs import logging_to
from lightning_rec.runs.partial import marked, tell
from lightning_rec.runs.parts import copy_parts, with_parts
from lightning_rec.runs.recording import afterwards, recorded, withdrawn_if_refused
from lightning_rec.runs.resuming import Start, changed, check_not_over, start_of, until
from lightning_rec.runs.signals import stoppable
from lightning_rec.runs.tracking import Example
from lightning_rec.screen import Screen
from lightning_rec.tasks.base import Task

log = logging.getLogger(__name__)


class Made(NamedTuple):
    """What is built of a config: the problem, its data, and the task over a fresh model."""

    problem: Problem[Any]
    loaded: Audited[Any]
    data: BatchData
    task: Task


def train(
    cfg: DictConfig, folder: Path, overrides: list[str], watch: Callback | None = None
) -> None:
    """Train, evaluate and record ``cfg`` in ``folder``. Raises UserError before any training.

    ``watch``: looks on as the callbacks of the config do; a trial of a search, of which one line is
    printed at the end.
    """
    problem = problem_of(cfg)
    with one_writer(folder), stoppable():
        run = RunFolder.create(folder, cfg, overrides)
        with recorded(run):
            with withdrawn_if_refused(run):
                made = _make(cfg, problem, run)
            _train(cfg, made, run, None, watch)


def resume(folder: Path, overrides: list[str], watch: Callback | None = None) -> None:
    """Go on from the last checkpoint of a run, or begin anew where there is none.

    ``watch``: see :func:`train`. Raises UserError before anything is written: if ``folder`` is no
    run, is completed, is being written, or if its checkpoint does not fit the settings.
    """
    RunFolder.open(folder)
    with one_writer(folder), stoppable():
        run = RunFolder.open(folder)
        cfg = changed(run.config, overrides)
        check_addresses(run, overrides)
        check_not_over(run, cfg)
        with unquoted(run, overrides, "model"):
            problem = problem_of(with_parts(run, cfg))
        with logging_to(None):
            checkpoint = run.last_checkpoint()
            made = _make(cfg, problem, run, *overrides)
            start = start_of(run, cfg, made.task, checkpoint) if checkpoint else None
        run.resume(cfg, overrides, until(run, cfg, start))
        if start is None:
            run.start_over()
        with recorded(run):
            _train(cfg, made, run, start, watch)


def worker(folder: Path) -> None:
    """A further process of a distributed training, started by the first one."""
    run = RunFolder.open(folder)
    with stoppable(), recorded(run):
        checkpoint = run.last_checkpoint() if run.card.get("earlier") else None
        made = _make(run.config, problem_of(with_parts(run, run.config)), run)
        start = start_of(run, run.config, made.task, checkpoint) if checkpoint else None
        _train(run.config, made, run, start, None)


def evaluate(folder: Path, overrides: list[str]) -> tuple[RunFolder, dict[str, float]]:
    """Figures of a completed run again, from its weights. Raises UserError if files changed."""
    run = RunFolder.open(folder)
    cfg = with_parts(run, changed(run.config, overrides))
    with logging_to(None):
        with unquoted(run, overrides, "model"):
            problem = problem_of(cfg)
        with unquoted(run, overrides) as withheld:
            loaded = problem.load(cache_dir())
        check_withheld(run, problem, loaded, withheld)
        run.check_language(cfg)
        data = problem.make_data(loaded)
        with unquoted(run, overrides, "item") as withheld:
            task = problem.make_task(loaded, data)
        withheld.release(known=False)
        if task.adapted is not None and task.adapted.partial:
            task.adapted.check_base(run.path / TUNED)
        run.load_model(task.model)
        checksums.verify_all(run.path)
        run.metrics  # noqa: B018  read before they are computed again
        trainer = make_trainer(cfg, run.path, training=False)
        with distributed.joined_by("evaluate", run.path, *overrides):
            _evaluate(trainer, task, data, validates=loaded.validates)
        problem.warn(task.figures)
        tell(part := partial(cfg))
    distributed.leave()
    return run, marked(task.figures, part)


def check_done(folder: Path, cfg: DictConfig) -> None:
    """Raises UserError if a finished job of a sweep was made of other data than there is now."""
    run = RunFolder.open(folder)
    problem = problem_of(with_parts(run, cfg))
    with logging_to(None):
        check_data(run, problem, problem.load(cache_dir()))


def _make(cfg: DictConfig, problem: Problem[Any], run: RunFolder, *asked: str) -> Made:
    """Load the data and build the task, of equal weights for equal seeds."""
    with run.timed("data"):
        with unquoted(run, asked) as withheld:
            loaded = problem.load(cache_dir())
        check_withheld(run, problem, loaded, withheld)
        learnt = check_read(problem, loaded, cfg)
        data = problem.make_data(loaded)
    run.check_language(cfg)
    with run.timed("start"):
        seed_everything(cfg.seed, workers=True, verbose=False)
        with unquoted(run, asked, "item") as withheld:
            task = problem.make_task(loaded, data)
            if begun := problem.begin(task, data, loaded):
                run.note(begun=begun | learnt)
        withheld.release(known=False)
    check_course(cfg, task, data, validates=loaded.validates)
    return Made(problem, loaded, data, task)


def _train(
    cfg: DictConfig, made: Made, run: RunFolder, start: Start | None, watch: Callback | None
) -> None:
    problem, loaded, data, task = made
    _describe(run, problem, loaded)
    with (
        run.timed("start"),
        Screen(stderr=True, quiet=not distributed.is_first()).status("starting trackers"),
    ):
        trainer = make_trainer(
            cfg, run.path, validates=loaded.validates, step=0 if start is None else start.step,
            run_ids=run.card.get("trackers"),
        )  # fmt: skip
        if watch is not None:
            trainer.callbacks.insert(0, watch)  # type: ignore[attr-defined]  # before checkpoints
        tracking.begin(trainer, _described(cfg, run), run)
        run.note(trackers=tracking.run_ids())
    if task.trains and trainer.max_epochs != 0:
        _fit(trainer, run, task, data, start)
    if loaded.validates and (fitting := problem.calibrated(task, loaded)) is not None:
        joined = distributed.joined_by("train", run.path)
        with run.timed("calibrate"), unwatched(trainer), joined:
            trainer.validate(fitting, datamodule=DataModule(data), verbose=False)
            run.note(**fitting.steps.calibrate(fitting))
    run.save_model(task.model)
    if task.adapted is not None and task.adapted.partial:
        run.save(TUNED, task.adapted.save)
    with run.timed("evaluate"), distributed.joined_by("train", run.path):
        _evaluate(trainer, task, data, validates=loaded.validates)
    run.note(warnings=[*training_warnings(cfg, trainer, data), *problem.warn(task.figures)])
    columns = {task.title: task.figures}
    if task.loss is not None and (baseline := problem.make_baseline(loaded, data)) is not None:
        with run.timed("baseline"):
            _evaluate(trainer, baseline, data, validates=loaded.validates)
        task.figures |= problem.relative_metrics(task.figures, baseline.figures)
        columns = {baseline.title: baseline.figures} | columns
    examples = problem.examples(task, loaded)
    run.save_metrics(figures := _flat(columns, partial(cfg)))
    tables = problem.tables(task, loaded) | tracking.table_of(examples)
    for name, table in tables.items():
        run.save_table(name, table)
    if distributed.is_first():
        problem.save_artifacts(task, run.path)
    run.finish("completed")
    with afterwards(run, "telling the trackers"):
        pictures = plots.draw(tables, run.path) if distributed.is_first() else {}
        tracking.end(trainer, _described(cfg, run), figures, run, examples, pictures)
    with afterwards(run, "showing the figures"):
        _show(run, columns, cfg.monitor, examples, brief=watch is not None)


def _evaluate(trainer: Trainer, task: Task, data: BatchData, *, validates: bool) -> None:
    """Validate and test with the weights as they are; the figures land in ``task.figures``."""
    with unwatched(trainer):
        if validates:
            trainer.validate(task, datamodule=DataModule(data), verbose=False)
        trainer.test(task, datamodule=DataModule(data), verbose=False)


def _fit(
    trainer: Trainer, run: RunFolder, task: Task, data: BatchData, start: Start | None
) -> None:
    """Train, and load the weights with the best validation figure, if any."""
    with run.timed("fit"), distributed.joined_by("train", run.path):
        ckpt = start and start.checkpoint
        trainer.fit(task, datamodule=DataModule(data), ckpt_path=ckpt, weights_only=True)
    # An average of the weights has been copied into them, and is not to be swapped again.
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [each for each in callbacks if not isinstance(each, WeightAveraging)]
    tell_untrained(trainer, start)
    run.earlier_cpu_seconds = task.epochs.earlier_cpu_seconds
    run.note(cost=task.cost())
    if (run.path / BEST).is_file():
        saved = trainer.strategy.load_checkpoint(run.path / BEST, weights_only=True)
        task.load_state_dict(saved["state_dict"])
    task.check_weights()
    if task.adapted is not None:
        task.adapted.conclude()


def _describe(run: RunFolder, problem: Problem[Any], loaded: Audited[Any]) -> None:
    """Put data and protocol on the card, and what is read of other runs into the folder."""
    copy_parts(run, problem.cfg)
    if language := run.check_language():
        run.note(language_hash=language)
    if (part := partial(problem.cfg)) or run.card.get("partial"):
        run.note(partial=part)
    tell(part)
    read = [(name, getattr(problem, name)(loaded)) for name in ("catalogue_hash", "side_hash")]
    run.note(**{name: value for name, value in read if value})
    run.note(
        data=loaded.name,
        data_hash=loaded.data_hash,
        protocol=problem.protocol.settings(),
        protocol_hash=recorded_hash(problem.protocol.hash(loaded.counts), part),
        split=loaded.counts,
        audit=loaded.facts,
    )


def _described(cfg: DictConfig, run: RunFolder) -> dict[str, Any]:
    """What trackers are told: the config and what makes figures comparable."""
    keys = ["config_hash", "data_hash", "protocol_hash", "environment_hash", "commit", "version"]
    if run.card.get("partial"):
        keys.append("partial")
    settings: dict[str, Any] = unaddressed(config.plain(cfg))
    return settings | {key: run.card[key] for key in keys}


def _flat(columns: Mapping[str, Mapping[str, float]], part: Mapping[str, Any]) -> dict[str, float]:
    """Figures of the model as they are, those of the baseline under its name; marked if partial."""
    *beside, own = columns
    flat = dict(columns[own])
    for name in beside:
        flat |= {f"{name.lower()}/{figure}": value for figure, value in columns[name].items()}
    return marked(flat, part)


@rank_zero_only
def _show(
    run: RunFolder,
    columns: Mapping[str, Mapping[str, float]],
    monitor: str,
    examples: list[Example],
    *,
    brief: bool,
) -> None:
    """Print the end of a run; in a search one line, since the table comes at its end."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return  # the command of the sweep says it, wherever this job runs
    if brief:
        figure = columns[[*columns][-1]].get(monitor)
        told = f"{monitor} {figure:.4f}" if figure is not None else ""
        print(f"{run.path}  {told}  {run.config.tracking.name or ''}".rstrip())
        return
    show_run(run, columns, examples, tracking.sync_command())
