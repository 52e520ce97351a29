"""A sweep of ``lightning-rec train -m``: its jobs, wherever they run, and how it ends."""

import gc
import shlex
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lightning_rec import trust
from lightning_rec.commands.hydra_main import hydra_main, parsed, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.config import plain
from lightning_rec.errors import UserError

Freeze = Callable[[DictConfig], DictConfig]


def run(arguments: list[str], freeze: Freeze) -> int:
    """Run the jobs. Returns the exit status; raises KeyboardInterrupt naming what goes on.

    ``freeze``: resolves the config of a job.
    """
    from lightning_rec.runs.ending import Sweep

    said, arguments = take_keys(arguments, "check_memory")
    if (checks := said.get("check_memory", "true")) not in ("true", "false"):
        raise UserError(f"check_memory={checks}: say true or false.")
    arguments = _with_folder(arguments)
    sweep = Sweep(check_memory=checks == "true", command=_command(arguments, said))
    again = f"to go on: {sweep.command}"
    try:
        with sweep.listening():
            hydra_main(partial(job, sweep=sweep, freeze=freeze), _naming(arguments))
    except SystemExit:
        if sweep.refusal is not None:
            raise sweep.refusal from None
        if sweep.asked:
            raise KeyboardInterrupt(again) from None
        raise
    except KeyboardInterrupt as stop:
        _show(sweep)
        raise KeyboardInterrupt(again) from stop
    except UserError:
        raise
    except Exception as error:  # of a launcher, one of whose jobs was killed
        if sweep.how.here:
            raise
        _show(sweep)
        told = (str(error).splitlines() or [""])[0]
        raise RuntimeError(f"a job did not end by itself ({told}); {again}") from error
    if sweep.asked and sweep.left:
        raise KeyboardInterrupt(again)
    return 0


def sweep_folder() -> str:
    """The folder of a new sweep, named after the time."""
    return f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_sweep"


def _show(sweep: Any) -> None:
    """Show the table of what is there, where a sweep ended before it did."""
    from lightning_rec.reports.sweep import show_sweep, tell_left

    if sweep.folder is not None and not sweep.shown and any(sweep.folder.glob("*/run.json")):
        show_sweep(sweep.folder)
        tell_left(sweep)


def _command(arguments: list[str], said: dict[str, str]) -> str:
    """What goes on with this sweep."""
    named = [f"--trust={names}"] if (names := trust.named()) else []
    checks = [f"{key}={value}" for key, value in said.items()]
    return shlex.join(["lightning-rec", "train", *arguments, *checks, *named])


def _with_folder(arguments: list[str]) -> list[str]:
    """Give a sweep its folder, which Hydra wants first."""
    if any(argument.startswith("run_dir=") for argument in arguments):
        return arguments
    return [*arguments, f"run_dir={sweep_folder()}"]


def _naming(arguments: list[str]) -> list[str]:
    """Tell Hydra which settings name no job."""
    overrides = [each for each in arguments if "=" in each and not each.startswith("-")]
    asked = {each.key_or_group: each for each in parsed(overrides)}  # the last of a key counts
    same = [key for key, each in asked.items() if not each.is_sweep_override()]
    return [*arguments, f"hydra.job.config.override_dirname.exclude_keys={same}"]


def _name_job(cfg: DictConfig, hydra_cfg: Any) -> None:
    """Tell trackers what a job is: its group is the sweep, its name the settings that differ."""
    asked = list(hydra_cfg.overrides.task)
    same = hydra_cfg.job.config.override_dirname.exclude_keys
    lines = {each.key_or_group: str(each.input_line) for each in parsed(asked)}
    differing = {key: line for key, line in lines.items() if key not in same}
    if cfg.tracking.name is None and differing:
        cfg.tracking.name = " ".join(differing.values())
    if not any(each.startswith("tracking.group=") for each in asked):
        cfg.tracking.group = Path(hydra_cfg.sweep.dir).name
    settings = [line for key, line in differing.items() if key != "seed"]
    if cfg.tracking.setting is None and settings:
        cfg.tracking.setting = " ".join(settings)


def job(cfg: DictConfig, sweep: Any, freeze: Freeze) -> None:
    """Run one job of a :class:`lightning_rec.runs.ending.Sweep`, unless that has been ended."""
    from lightning_rec.runs import launchers

    if sweep.is_here and sweep.asked and sweep.how.here:
        raise KeyboardInterrupt
    if sweep.ordered():
        return
    hydra_cfg: Any = HydraConfig.get()
    _name_job(cfg, hydra_cfg)
    launchers.share(sweep.how, hydra_cfg)
    with loading():
        from lightning_rec.runs import sweeps

    frozen, overrides = freeze(cfg), list(hydra_cfg.overrides.task)
    where, number = Path(hydra_cfg.sweep.dir), hydra_cfg.job.num
    folder = sweeps.folder_of(where, plain(frozen), number, overrides)
    if sweep.is_here:
        gc.collect()  # of the jobs before it: each is told the memory that it took
        _run(frozen, folder, overrides)
        return
    try:
        with sweep.obeyed():
            _run(frozen, folder, overrides)
    except KeyboardInterrupt:
        _make_way(folder)
        if not sweep.ordered():
            raise


def _make_way(folder: Path) -> None:
    """Put a job of submitit's into its queue again, if it was asked to make way."""
    from lightning_rec.runs.folder import RunFolder
    from lightning_rec.runs.signals import requeue

    if (queue := requeue()) is None:
        return
    try:
        queue()  # ends the process
    except Exception as error:  # submitit's; it is not queued again
        RunFolder.open(folder).note(error=str(error))


def _run(cfg: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Train a job, unless it is done; go on with one that was stopped; a failed one is retried."""
    from lightning_rec.runs.folder import RunFolder
    from lightning_rec.runs.foreign import addresses
    from lightning_rec.training import check_done, resume, train

    if (folder / "run.json").is_file():
        status = RunFolder.open(folder).card.get("status")
        if status == "completed":
            check_done(folder, cfg)
            print(f"{folder}  is done already  {cfg.tracking.name or ''}".rstrip())
            return
        if status != "failed" or (folder / "checkpoints" / "last.ckpt").is_file():
            resume(folder, [f"{key}={value}" for key, value in addresses(cfg).items()])
            return
        (folder / "run.json").unlink()  # it failed before it had anything to go on from
    try:
        train(cfg, folder, overrides)
    except Exception as error:
        RunFolder(folder).refuse(cfg, overrides, error)
