"""``lightning-rec train``: one run, or with -m one run per job of a sweep."""

from datetime import datetime
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lightning_rec.commands.hydra_main import hydra_main
from lightning_rec.commands.loading import loading
from lightning_rec.commands.usage import usage, wanted
from lightning_rec.config import plain
from lightning_rec.errors import UserError

# Keys that name a file or a folder.
PATHS = (
    *(("data", key) for key in ("path", "catalogue", "val", "test")),
    ("encoder", "run"),
    ("model", "encoder"),
    ("model", "first"),
    ("item", "encoder"),
)
EXAMPLES = """\
  lightning-rec train                                  # BERT4Rec on MovieLens-100K
  lightning-rec train data=table data.path=log.csv data.user=uid data.item=sku data.time=ts
  lightning-rec train -m model.dim=32,64 seed=1,2,3    # a sweep, one table at the end
  lightning-rec train resume=FOLDER trainer.max_epochs=80
"""


def run(arguments: list[str]) -> int:
    """Train what the overrides compose. Returns the exit status."""
    if wanted(arguments):
        print(usage("Train a model, evaluate it, and write a run folder.", EXAMPLES, arguments))
        return 0
    if any(argument.startswith("resume=") for argument in arguments):
        _resume(arguments)
    else:
        hydra_main(job, _with_folder(arguments))
    return 0


def _resume(arguments: list[str]) -> None:
    """Go on with a run: overrides are of its own config, so that there is nothing to compose."""
    folders = [argument[7:] for argument in arguments if argument.startswith("resume=")]
    overrides = [argument for argument in arguments if not argument.startswith("resume=")]
    if len(folders) != 1 or not folders[0] or any(each.startswith("-") for each in overrides):
        raise UserError(
            "One run can be gone on with: lightning-rec train resume=FOLDER, followed by values "
            "to change, such as trainer.max_epochs=80."
        )
    with loading():
        from lightning_rec.training import resume

    resume(Path(folders[0]), overrides)


def _with_folder(arguments: list[str]) -> list[str]:
    """Give a sweep its folder here: Hydra wants it before it knows what the jobs are made of."""
    sweeps = {"-m", "--multirun"} & set(arguments)
    if not sweeps or any(argument.startswith("run_dir=") for argument in arguments):
        return arguments
    return [*arguments, f"run_dir=runs/{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_sweep"]


def job(cfg: DictConfig) -> None:
    """Run one job. In a sweep a failed job is recorded and the others go on."""
    hydra_cfg = HydraConfig.get()
    folder = Path(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    with loading():
        from lightning_rec.runs.folder import RunFolder
        from lightning_rec.training import train

    try:
        train(_frozen(cfg), folder, overrides)
    except Exception as error:
        if hydra_cfg.mode != RunMode.MULTIRUN:
            _remove_if_empty(folder)
            raise
        RunFolder(folder).refuse(_frozen(cfg), overrides, error)


def _frozen(cfg: DictConfig) -> DictConfig:
    """The config with everything resolved, Hydra's own values included, so that it stands alone."""
    settings = plain(cfg)
    # A run can be resumed and evaluated from any folder.
    for node, key in PATHS:
        there = settings.get(node)
        named = there.get(key) if isinstance(there, dict) else None
        if isinstance(named, str) and named and (node in ("data", "encoder") or _is_folder(named)):
            there[key] = str(Path(named).absolute())
    resolved = OmegaConf.create(settings)
    assert isinstance(resolved, DictConfig)
    return resolved


def _is_folder(name: str) -> bool:
    """Whether it is one, and no name of the hub."""
    return name != "bm25" and Path(name).is_dir()


def _remove_if_empty(folder: Path) -> None:
    """Hydra makes the folder before the config is checked; a bad config should leave no trace."""
    for level in (folder, folder.parent):
        if level.is_dir() and level != Path.cwd() and not any(level.iterdir()):
            level.rmdir()
