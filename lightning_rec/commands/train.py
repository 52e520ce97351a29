"""``lightning-rec train``: one run, or with -m one run per job of a sweep."""

import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lightning_rec.commands import sweeping
from lightning_rec.commands.hydra_main import hydra_main, parsed, take_key, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.config import compose, plain
from lightning_rec.errors import UserError

if TYPE_CHECKING:
    from lightning_rec.runs.folder import RunFolder

# Keys that name a file or a folder.
PATHS = (
    *(("data", key) for key in ("path", "catalogue", "val", "test")),
    ("encoder", "run"),
    ("model", "encoder"),
    ("model", "first"),
    *(("method", key) for key in ("run", "teacher")),
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
  lightning-rec train -m seed=1,2,3 hydra/launcher=joblib     # side by side; also
    # submitit_slurm, submitit_local, ray. One that does not fit into memory is
    # refused; check_memory=false begins it all the same.
  lightning-rec train resume=FOLDER trainer.max_epochs=80
  lightning-rec train from=FOLDER data.path=log_now.csv run_dir=runs/week_2
    # goes on from a finished run, or a bundle, with what is new in the log
"""


def run(arguments: list[str]) -> int:
    """Train what the overrides compose. Returns the exit status."""
    folders, overrides = take_key(arguments, "resume")
    earlier, _ = take_key(arguments, "from")
    if earlier and not folders:
        return _update(arguments)
    if not folders:
        if {"-m", "--multirun"} & set(arguments):
            return sweeping.run(arguments, frozen)
        hydra_main(partial(job, kept=_existing_folders(arguments)), arguments)
        return 0
    # Overrides are of the run's own config, so that there is nothing to compose.
    if len(folders) != 1 or not folders[0] or any(each.startswith("-") for each in overrides):
        raise UserError(
            "One run can be gone on with: lightning-rec train resume=FOLDER, followed by values "
            "to change, such as trainer.max_epochs=80."
        )
    with loading():
        from lightning_rec.lab import ensembles, pipeline_stages
        from lightning_rec.training import resume

    resume(Path(folders[0]), overrides)
    for joined in (ensembles, pipeline_stages):
        joined.conclude(Path(folders[0]))
    return 0


def _update(arguments: list[str]) -> int:
    """Go on from a finished run with a later state of its log, under its own settings."""
    said, overrides = take_keys(arguments, "from", "run_dir")
    if not said["from"] or any(each.startswith("-") for each in overrides):
        raise UserError(
            "One run can be gone on from: lightning-rec train from=FOLDER data.path=LOG, followed "
            "by values to change; in a sweep say method=update method.run=FOLDER."
        )
    with loading():
        from lightning_rec.bundle.beginning import check_kind, unpack
        from lightning_rec.runs.folder import RunFolder
        from lightning_rec.runs.parts import EARLIER, PARTS

    source = Path(said["from"])
    when = f"runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"
    if not check_kind(source):
        run = RunFolder.open(source)
        run.check_completed("from")
        folder = Path(said.get("run_dir") or f"{when}_{run.config.name}")
        _go_on(run, folder, source, overrides)
        return 0
    folder = Path(said.get("run_dir") or f"{when}_{source.absolute().name}")
    if folder.exists():
        raise UserError(f"run_dir={folder} is there already: name a new folder.")
    try:
        _go_on(unpack(source, folder / PARTS / EARLIER), folder, source, overrides)
    except Exception:
        if not (folder / "run.json").is_file():  # refused before it began
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return 0


def _go_on(run: "RunFolder", folder: Path, source: Path, overrides: list[str]) -> None:
    from lightning_rec.runs.foreign import check_addresses
    from lightning_rec.runs.resuming import changed
    from lightning_rec.training import train

    check_addresses(run, overrides)
    cfg = run.config
    cfg.method = compose(["method=update"]).method
    cfg.method.run = str(run.path)
    cfg = changed(cfg, overrides)
    cfg.run_dir, cfg.tracking.name = str(folder), None
    train(frozen(cfg), folder, [f"from={source}", *overrides])


def _existing_folders(arguments: list[str]) -> list[Path]:
    """The named run folder and its parent, as far as they exist."""
    said = parsed([each for each in arguments if each.startswith("run_dir=")])
    named = [Path(str(each.value())).absolute() for each in said]
    around = [folder for name in named for folder in (name, name.parent)]
    return [folder for folder in around if os.path.isdir(folder)]  # noqa: PTH112  long names too


def job(cfg: DictConfig, kept: Sequence[Path] = ()) -> None:
    """Run the one job there is. Folders ``kept`` are not removed where it is refused."""
    hydra_cfg = HydraConfig.get()
    with loading():
        from lightning_rec.training import train

    folder = Path(hydra_cfg.runtime.output_dir)
    try:
        train(frozen(cfg), folder, list(hydra_cfg.overrides.task))
    except Exception:
        for level in (folder, folder.parent):  # Hydra makes it before the config is checked
            if level.is_dir() and level not in kept and not any(level.iterdir()):
                level.rmdir()
        raise


def frozen(cfg: DictConfig) -> DictConfig:
    """The config with everything resolved, Hydra's own values included."""
    settings = plain(cfg)
    # A run can be resumed and evaluated from any folder.
    for node, key in PATHS:
        for part in _with_parts(settings.get(node)):
            named = part.get(key)
            if not isinstance(named, str) or not named:
                continue
            # Elsewhere it may be the name of a model, of the hub or of ours.
            if node in ("data", "encoder") or (named != "bm25" and Path(named).is_dir()):
                part[key] = str(Path(named).absolute())
    resolved = OmegaConf.create(settings)
    assert isinstance(resolved, DictConfig)
    return resolved


def _with_parts(node: Any) -> list[dict[str, Any]]:
    """A node, and those that are joined in it."""
    every = [node, *(node.get("parts") or {}).values()] if isinstance(node, dict) else []
    return [each for each in every if isinstance(each, dict)]
