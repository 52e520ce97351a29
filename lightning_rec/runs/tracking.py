"""What trackers are told of a run: its settings at the start, its figures at the end."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec.runs.loggers import compared, sectioned


@rank_zero_only
def begin(trainer: pl.Trainer, settings: Mapping[str, Any]) -> None:
    """Tell every tracker the config and the hashes; TensorBoard wants them at the end."""
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(dict(settings))


@rank_zero_only
def end(
    trainer: pl.Trainer,
    settings: Mapping[str, Any],
    monitor: str,
    figures: Mapping[str, float],
    seconds: Mapping[str, float],
    examples: Sequence[tuple[str, list[str], list[str]]],
    pictures: Mapping[str, Path],
) -> None:
    """Tell every tracker the final figures, once; W&B also where time went and the examples.

    Figures of validation are those of the weights that are kept, at which no step stands: W&B has
    them in its summary, TensorBoard the monitored one beside the hyper-parameters. PNG files go to
    those that show pictures: W&B and TensorBoard.
    """
    cost = {f"cost/{part}_seconds": value for part, value in seconds.items()}
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            _tell_wandb(logger, figures, cost, examples, pictures)
        elif isinstance(logger, CSVLogger):
            logger.log_metrics(dict(figures), trainer.global_step)
            logger.save()
        else:
            tested = {name: value for name, value in figures.items() if not name.startswith("val/")}
            logger.log_metrics(tested | cost, trainer.global_step)
        if isinstance(logger, TensorBoardLogger):
            from matplotlib.image import imread  # there is no picture without it

            best = {f"best/{monitor}": figures[monitor]} if monitor in figures else {}
            logger.log_hyperparams(dict(settings), best)
            for name, path in pictures.items():
                logger.experiment.add_image(name, imread(path), dataformats="HWC")


def _tell_wandb(
    logger: WandbLogger,
    figures: Mapping[str, float],
    cost: Mapping[str, float],
    examples: Sequence[tuple[str, list[str], list[str]]],
    pictures: Mapping[str, Path],
) -> None:
    import wandb

    run, placed = logger.experiment, sectioned(figures)
    summary = compared(placed)
    logged: dict[str, Any] = {k: v for k, v in placed.items() if k not in summary} | dict(cost)
    if examples:
        rows = [[user, "\n".join(past), "\n".join(best)] for user, past, best in examples]
        logged["examples"] = wandb.Table(["user", "latest items", "recommended"], rows)
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


def run_id() -> str | None:
    """W&B's id of the open run, None if there is none."""
    run = _open_run()
    return None if run is None else str(run.id)


@rank_zero_only
def close(*, failed: bool) -> None:
    """Close the W&B run, marked failed if the run did not complete."""
    if run := _open_run():
        run.finish(exit_code=1 if failed else 0)


def _open_run() -> Any:
    """W&B's open run; None if there is none, or if W&B was never imported."""
    wandb = sys.modules.get("wandb")
    return wandb.run if wandb is not None else None
