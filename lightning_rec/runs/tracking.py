"""Trackers. W&B is the default: online with a key, offline without, never asking.

wandb is slow to import, so it is imported when it is used.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from lightning_rec.runs.distributed import is_first


def wandb_logger(
    save_dir: Path,
    project: str = "lightning_rec",
    group: str | None = None,
    tags: tuple[str, ...] = (),
    job_type: str = "train",
    mode: Literal["auto", "online", "offline", "disabled"] = "auto",
) -> WandbLogger:
    """Make a W&B logger whose run is named after the run folder.

    Args:
        save_dir: the run folder; W&B's files go to ``wandb/`` in it.
        project: W&B project.
        group: W&B group.
        tags: W&B tags.
        job_type: W&B job type.
        mode: ``auto`` follows ``WANDB_MODE`` if set; else it is online if there is an API key
            (in the environment or from ``wandb login``), and offline if there is none.
    """
    import wandb

    run = None
    if is_first():
        # Made here and not by Lightning, which passes arguments that W&B warns about.
        run = wandb.init(
            name=_name(save_dir),
            dir=save_dir,
            project=project,
            group=group,
            tags=tags,
            job_type=job_type,
            mode=_mode() if mode == "auto" else mode,
            settings=wandb.Settings(silent=True, console="off"),
            reinit="finish_previous",  # each job of a sweep is a run of its own
        )
    return WandbLogger(project=project, save_dir=save_dir, experiment=run)


def _name(folder: Path) -> str:
    """Jobs of a sweep lie in folders 0, 1, …; alone such a number says nothing."""
    return f"{folder.parent.name}_{folder.name}" if folder.name.isdigit() else folder.name


def _mode() -> Literal["online", "offline", "disabled"]:
    wanted = os.environ.get("WANDB_MODE", "")
    if wanted in ("online", "offline", "disabled"):
        return wanted  # type: ignore[return-value]
    return "online" if _has_key() else "offline"


def _has_key() -> bool:
    """Whether W&B would find an API key without asking: in the environment or in netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    try:
        return netrc(path).authenticators(host) is not None
    except (OSError, NetrcParseError, UnicodeDecodeError):
        return False


@rank_zero_only
def begin(trainer: pl.Trainer, settings: Mapping[str, Any]) -> None:
    """Tell every tracker the config and the hashes."""
    for logger in trainer.loggers:
        logger.log_hyperparams(dict(settings))


@rank_zero_only
def end(
    trainer: pl.Trainer,
    figures: Mapping[str, float],
    seconds: Mapping[str, float],
    examples: Sequence[tuple[str, list[str], list[str]]],
    pictures: Mapping[str, Path],
) -> None:
    """Tell every tracker the final figures; W&B also where time went and the examples.

    PNG files go to those that show pictures: W&B and TensorBoard.
    """
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            run = logger.experiment
            logged: dict[str, Any] = {f"seconds/{part}": value for part, value in seconds.items()}
            if examples:
                rows = [[user, "\n".join(past), "\n".join(best)] for user, past, best in examples]
                logged["examples"] = wandb.Table(["user", "latest items", "recommended"], rows)
            logged |= {name: wandb.Image(str(path)) for name, path in pictures.items()}
            run.log(logged)
            run.summary.update(dict(figures))
        else:
            logger.log_metrics(dict(figures), trainer.global_step)
        if isinstance(logger, TensorBoardLogger):
            from matplotlib.image import imread  # there is no picture without it

            for name, path in pictures.items():
                logger.experiment.add_image(name, imread(path), dataformats="HWC")


def sync_command() -> str | None:
    """The command that would send an offline W&B run, or None if it is online or there is none."""
    run = _open_run()
    if run is None or not run.offline:
        return None
    return f"wandb sync {shlex.quote(str(Path(run.dir).parent))}"


@rank_zero_only
def close(*, failed: bool) -> None:
    """Close the W&B run, marked failed if the run did not complete."""
    if run := _open_run():
        run.finish(exit_code=1 if failed else 0)


def _open_run() -> Any:
    """W&B's open run; None if there is none, or if W&B was never imported."""
    wandb = sys.modules.get("wandb")
    return wandb.run if wandb is not None else None
