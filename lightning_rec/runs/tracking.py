"""What trackers log of a run: its settings at the start, its figures at the end."""

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
from polars import DataFrame
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec.errors import UserError
from lightning_rec.figures import parsed
from lightning_rec.passwords import without_passwords
from lightning_rec.runs import artifacts
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.loggers import SectionedMLFlow, SectionedWandb, compared, sectioned

log = logging.getLogger(__name__)

CALLED = ("log_hyperparams", "log_metrics", "save", "finalize")  # by Lightning


class Example(NamedTuple):
    """A user, the latest items of the history, or some if not ``ordered``, and recommendations.

    ``target``: the item of the test; empty for one that is no candidate.
    """

    user: str
    history: list[str]
    recommended: list[str]
    ordered: bool = True
    target: str = ""


def table_of(examples: Sequence[Example]) -> dict[str, DataFrame]:
    """The examples as the table ``examples`` of a run folder; nothing if there are none."""
    made = DataFrame(examples, schema=Example._fields, orient="row")
    return {"examples": made} if examples else {}


def shown_items(examples: Sequence[Example]) -> str:
    """What the examples show of histories."""
    return "latest items" if all(example.ordered for example in examples) else "some items"


class Tracker:
    """A logger whose errors are logged once and end the logging, but never the run.

    ``name``: what the config calls it. ``build``: makes the logger; its UserError is raised.
    """

    def __init__(self, name: str, build: Callable[[], Logger]) -> None:
        self.name, self.failed = name, False
        self.logger: Logger | None = self.tolerant(lambda: _opened(build()))()
        for method in CALLED if self.logger is not None else ():
            setattr(self.logger, method, self.tolerant(getattr(self.logger, method)))

    def tolerant(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """``method``, returning None from its first error on."""

        def call(*arguments: Any, **named: Any) -> Any:
            if self.failed:
                return None
            try:
                return method(*arguments, **named)
            except UserError:
                raise
            except Exception as error:
                self.failed = True
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                reason = without_passwords(reason)
                log.warning("logger=%s fails; the run goes on without it. %s", self.name, reason)
                return None

        return call


def _opened(logger: Logger) -> Logger:
    getattr(logger, "experiment", None)  # some make their files here, and some their run
    return logger


_begun: list[Tracker] = []  # of the run that goes on


def start(name: str, build: Callable[[], Logger]) -> Logger | None:
    """The logger that ``build`` makes, as a :class:`Tracker` of this run; None if it fails."""
    _begun.append(Tracker(name, build))
    return _begun[-1].logger


@rank_zero_only
def begin(trainer: pl.Trainer, settings: Mapping[str, Any], run: RunFolder) -> None:
    """Tell every tracker the config and the hashes, and W&B and MLflow what the run is built of.

    TensorBoard wants settings at the end.
    """
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(settings))
    built_of = artifacts.used(run)
    for tracker in _begun if built_of else ():
        if isinstance(tracker.logger, SectionedWandb):
            tracker.tolerant(artifacts.use_at_wandb)(tracker.logger.experiment, built_of)
        elif isinstance(tracker.logger, SectionedMLFlow):
            client, run_id = tracker.logger.experiment, tracker.logger.run_id
            tracker.tolerant(artifacts.use_at_mlflow)(client, run_id, built_of)


def run_ids() -> dict[str, str]:
    """The ids under which trackers know the run, by their names."""
    known = ((each.name, each.logger.version) for each in _begun if each.logger is not None)
    return {name: str(version) for name, version in known if version}


@rank_zero_only
def end(
    trainer: pl.Trainer,
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    run: RunFolder,
    examples: Sequence[Example],
    pictures: Mapping[str, Path],
) -> None:
    """Tell every tracker the final figures, once; W&B also where time went and the examples.

    Figures of validation are those of the weights that are kept, at which no step stands: W&B has
    them in its summary, TensorBoard as ``best/``, which with those of the test stand beside the
    hyper-parameters. PNG files go to those that show pictures: W&B and TensorBoard. Files of the
    run go to W&B and MLflow.
    """
    cost = {f"cost/{part}_seconds": value for part, value in run.card["seconds"].items()}
    for tracker in _begun:
        logger, tell = tracker.logger, tracker.tolerant
        if isinstance(logger, WandbLogger):
            tell(_tell_wandb)(logger, figures, cost, examples, pictures)
        elif isinstance(logger, CSVLogger):
            logger.log_metrics(dict(figures), trainer.global_step)
            logger.save()
        elif logger is not None:
            validated = [n for n, p in parsed(figures).items() if p.stage == "val" and not p.model]
            tested = {name: value for name, value in figures.items() if name not in validated}
            if isinstance(logger, TensorBoardLogger):
                tested = _hparams(logger, trainer.global_step, settings, figures, tested)
                tell(_show_pictures)(logger, pictures)
            logger.log_metrics(tested | cost, trainer.global_step)
        if isinstance(logger, SectionedWandb) and logger.artifact != "none":
            tell(artifacts.keep_at_wandb)(logger.experiment, run, logger.artifact)
        elif isinstance(logger, SectionedMLFlow) and logger.artifact != "none":
            told = (logger.experiment, logger.run_id, run, logger.artifact)
            tell(artifacts.keep_at_mlflow)(*told)


def _hparams(
    logger: TensorBoardLogger,
    step: int,
    settings: Mapping[str, Any],
    figures: Mapping[str, float],
    tested: Mapping[str, float],
) -> dict[str, float]:
    """Show what runs are compared by beside the hyper-parameters; the figures that are left."""
    shown = compared(sectioned(figures))
    best = {name if name in tested else f"best/{name}": shown[name] for name in shown}
    logger.log_hyperparams(dict(settings), best, step)
    return {name: value for name, value in tested.items() if name not in shown}


def _show_pictures(logger: TensorBoardLogger, pictures: Mapping[str, Path]) -> None:
    from matplotlib.image import imread  # there is no picture without it

    for name, path in pictures.items():
        logger.experiment.add_image(name, imread(path), dataformats="HWC")


def _tell_wandb(
    logger: WandbLogger,
    figures: Mapping[str, float],
    cost: Mapping[str, float],
    examples: Sequence[Example],
    pictures: Mapping[str, Path],
) -> None:
    import wandb

    run, placed = logger.experiment, sectioned(figures)
    summary = compared(placed)
    logged: dict[str, Any] = {k: v for k, v in placed.items() if k not in summary} | dict(cost)
    if examples:
        rows = [[e.user, "\n".join(e.history), "\n".join(e.recommended)] for e in examples]
        logged["examples"] = wandb.Table(["user", shown_items(examples), "recommended"], rows)
    run.log(logged | {name: wandb.Image(str(path)) for name, path in pictures.items()})
    run.summary.update(summary)


def sync_command() -> str | None:
    """The command that would send an offline W&B run, or None if it is online or there is none."""
    run = _open_run()
    if run is None or not run.offline:
        return None
    parts = sorted(Path(run.dir).parents[1].glob(f"offline-run-*-{run.id}"))
    append = "--append " * (len(parts) > 1)  # a run that was resumed
    return f"wandb sync {append}{' '.join(shlex.quote(str(part)) for part in parts)}"


@rank_zero_only
def close(*, failed: bool) -> None:
    """Close every tracker, marked as failed if the run did not complete."""
    for tracker in _begun:
        if tracker.logger is not None:
            tracker.logger.finalize("failed" if failed else "success")
    _begun.clear()
    if run := _open_run():
        try:
            run.finish(exit_code=1 if failed else 0)
        except TimeoutError:
            rest = shlex.quote(str(Path(run.dir).parent))
            log.warning("W&B has not taken everything yet; the rest goes by: wandb sync %s", rest)


def _open_run() -> Any:
    """W&B's open run; None if there is none, or if W&B was never imported."""
    wandb = sys.modules.get("wandb")
    return wandb.run if wandb is not None else None
