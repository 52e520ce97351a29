"""Runs that a run builds on: copies of what it reads of them, so that its own folder is enough."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lightning_rec.files import atomic_folder
from lightning_rec.runs import checksums
from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.folder import RunFolder

RANKER = "model.ranker"
EARLIER = "method.run"  # which is gone on from
FIRST = "model.first"  # whose best items are re-ranked
KEYS = ("encoder.run", FIRST, RANKER, EARLIER)  # that may name the folder of a run
MEMBERS = "model.members"  # whose keys all do
PARTS = "parts"
FILES = ("config.yaml", "run.json", "checksums.json", "weights.safetensors", "items.parquet")
TABLES = ("fields.parquet", "vocabulary.parquet", "statistics.parquet")  # what a ranker reads
TRAINED = "trained.parquet"  # what a ranker of texts is audited by, and what finds its items
MORE = {
    FIRST: (TRAINED,),
    RANKER: (*TABLES, TRAINED),
    EARLIER: (*TABLES, TRAINED, "learnt.parquet"),
}


def copy_parts(run: RunFolder, cfg: DictConfig) -> None:
    """Copy what is read of the runs that ``cfg`` names into the folder, each whole or not at all.

    What :func:`with_parts` names is there already.
    """
    for key, folder in _named(cfg) if is_first() else ():
        copied = run.path / PARTS / key
        if folder.absolute() == copied:
            continue
        RunFolder.open(folder)  # without links that lead elsewhere
        if key == EARLIER and not (folder / TABLES[0]).is_file():
            continue  # only of clicks it is read again, for what numbers are scaled by
        inner = [path for path in (folder / PARTS).rglob("*") if path.is_file()]
        inner = [] if key == EARLIER else inner  # it needs none of its own parts
        shutil.rmtree(copied, ignore_errors=True)
        with atomic_folder(copied) as temporary:
            files = (*FILES, *MORE.get(key, ()))
            for path in [*(folder / name for name in files), *inner]:
                if path.is_file():
                    name = path.relative_to(folder)
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, temporary / name)
                    checksums.record(run.path, temporary / name, f"{PARTS}/{key}/{name.as_posix()}")


def with_parts(run: RunFolder, cfg: DictConfig) -> DictConfig:
    """``cfg`` of a run, naming its copies instead of the folders that it was trained with."""
    if not (run.path / PARTS).is_dir():
        return cfg
    cfg, trained = cfg.copy(), run.config
    for key in _keys(cfg):
        copied = run.path / PARTS / key
        if copied.is_dir() and OmegaConf.select(cfg, key) == OmegaConf.select(trained, key):
            OmegaConf.update(cfg, key, str(copied))
    return cfg


def _keys(cfg: DictConfig) -> list[str]:
    members = OmegaConf.select(cfg, MEMBERS)
    names = map(str, members) if isinstance(members, DictConfig) else ()
    return [*KEYS, *(f"{MEMBERS}.{name}" for name in names)]


def _named(cfg: DictConfig) -> Iterator[tuple[str, Path]]:
    for key in _keys(cfg):
        value = OmegaConf.select(cfg, key)
        if value and value != "bm25" and Path(value).is_dir():  # which is a model of ours
            yield key, Path(value)
