"""Runs that a run builds on: copies of what it reads of them, so that its own folder is enough."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.folder import RunFolder

KEYS = ("encoder.run", "model.first")  # that may name the folder of a run
PARTS = "parts"
FILES = ("config.yaml", "run.json", "checksums.json", "weights.safetensors", "items.parquet")


def copy_parts(run: RunFolder, cfg: DictConfig) -> None:
    """Copy what is read of the runs that ``cfg`` names into the folder, if it is not there yet."""
    for key, folder in _named(cfg) if is_first() else ():
        if (run.path / PARTS / key).is_dir():
            continue
        RunFolder.open(folder)  # without links that lead elsewhere
        inner = [path for path in (folder / PARTS).rglob("*") if path.is_file()]
        for path in [*(folder / name for name in FILES), *inner]:
            if path.is_file():
                name = Path(PARTS, key, path.relative_to(folder))
                (run.path / name).parent.mkdir(parents=True, exist_ok=True)
                with run.writing(name.as_posix()) as temporary:
                    shutil.copyfile(path, temporary)


def with_parts(run: RunFolder, cfg: DictConfig) -> DictConfig:
    """``cfg`` of a run, naming its copies instead of the folders that it was trained with."""
    cfg, trained = cfg.copy(), run.config
    for key in KEYS:
        copied = run.path / PARTS / key
        if copied.is_dir() and OmegaConf.select(cfg, key) == OmegaConf.select(trained, key):
            OmegaConf.update(cfg, key, str(copied))
    return cfg


def _named(cfg: DictConfig) -> Iterator[tuple[str, Path]]:
    for key in KEYS:
        value = OmegaConf.select(cfg, key)
        if value and Path(value).is_dir():
            yield key, Path(value)
