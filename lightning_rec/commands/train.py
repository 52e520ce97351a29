"""``lightning-rec train``: one run, or with -m one run per job of a sweep."""

import os
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_rec import threads
from lightning_rec.commands.hydra_main import hydra_main, parsed, take_key
from lightning_rec.commands.loading import loading
from lightning_rec.config import plain
from lightning_rec.errors import UserError

# Keys that name a file or a folder.
PATHS = (
    *(("data", key) for key in ("path", "catalogue", "val", "test")),
    ("encoder", "run"),
    ("model", "encoder"),
    ("model", "first"),
    *(("item", key) for key in ("encoder", "path", "item_ids")),
)
HELP = """\
Train a model, evaluate it, and write a run folder.

{groups}

Examples:
  lightning-rec train                              # BERT4Rec on MovieLens-100K
  lightning-rec train data=table data.path=log.csv data.user=uid data.item=sku \\
    data.time=ts                                   # a log of your own
  lightning-rec train -m model.dim=32,64 seed=1,2,3           # a sweep, a table
  lightning-rec train resume=FOLDER trainer.max_epochs=80
"""


def run(arguments: list[str]) -> int:
    """Train what the overrides compose. Returns the exit status."""
    folders, overrides = take_key(arguments, "resume")
    if not folders:
        hydra_main(partial(job, kept=_existing_folders(arguments)), _with_folder(arguments))
        return 0
    # Overrides are of the run's own config, so that there is nothing to compose.
    if len(folders) != 1 or not folders[0] or any(each.startswith("-") for each in overrides):
        raise UserError(
            "One run can be gone on with: lightning-rec train resume=FOLDER, followed by values "
            "to change, such as trainer.max_epochs=80."
        )
    with loading():
        from lightning_rec.training import resume

    resume(Path(folders[0]), overrides)
    return 0


def sweep_folder() -> str:
    """The folder of a new sweep, named after the time."""
    return f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_sweep"


def _with_folder(arguments: list[str]) -> list[str]:
    """Give a sweep its folder, which Hydra wants first, and the settings that name no job."""
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    if not any(argument.startswith("run_dir=") for argument in arguments):
        arguments = [*arguments, f"run_dir={sweep_folder()}"]
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


def _existing_folders(arguments: list[str]) -> list[Path]:
    """The named run folder and its parent, as far as they exist."""
    said = parsed([each for each in arguments if each.startswith("run_dir=")])
    named = [Path(str(each.value())).absolute() for each in said]
    around = [folder for name in named for folder in (name, name.parent)]
    return [folder for folder in around if os.path.isdir(folder)]  # noqa: PTH112  long names too


def job(cfg: DictConfig, kept: Sequence[Path] = ()) -> None:
    """Run one job; in a sweep a failed one is recorded. Folders ``kept`` are not removed."""
    hydra_cfg = HydraConfig.get()
    overrides = list(hydra_cfg.overrides.task)
    if hydra_cfg.mode == RunMode.MULTIRUN:
        _name_job(cfg, hydra_cfg)
        threads.share(jobs=hydra_cfg.launcher.get("n_jobs", 1))
    with loading():
        from lightning_rec.training import train

    if hydra_cfg.mode == RunMode.MULTIRUN:
        _job_of_sweep(frozen(cfg), Path(hydra_cfg.sweep.dir), hydra_cfg.job.num, overrides)
        return
    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        train(frozen(cfg), folder, overrides)
    except Exception:
        for level in (folder, folder.parent):  # Hydra makes it before the config is checked
            if level.is_dir() and level not in kept and not any(level.iterdir()):
                level.rmdir()
        raise


def _job_of_sweep(cfg: DictConfig, sweep: Path, number: int, overrides: list[str]) -> None:
    """Train a job, unless it is done; go on with one that was stopped; a failed one is retried."""
    from lightning_rec.runs import sweeps
    from lightning_rec.runs.folder import RunFolder
    from lightning_rec.runs.foreign import addresses
    from lightning_rec.training import check_done, resume, train

    folder = sweeps.folder_of(sweep, plain(cfg), number)
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


def frozen(cfg: DictConfig) -> DictConfig:
    """The config with everything resolved, Hydra's own values included."""
    settings = plain(cfg)
    # A run can be resumed and evaluated from any folder.
    for node, key in PATHS:
        part = settings.get(node)
        named = part.get(key) if isinstance(part, dict) else None
        if not isinstance(named, str) or not named:
            continue
        # Elsewhere it may be the name of a model, of the hub or of ours.
        if node in ("data", "encoder") or (named != "bm25" and Path(named).is_dir()):
            part[key] = str(Path(named).absolute())
    resolved = OmegaConf.create(settings)
    assert isinstance(resolved, DictConfig)
    return resolved
