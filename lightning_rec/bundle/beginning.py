"""What a bundle keeps of a training so that one can go on from it, and a run folder made of it.

Whoever can write a bundle can write all of this: its config is read as that of a run of somebody
else's, and its tables are checked before they are used.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from omegaconf import OmegaConf

from lightning_rec.bundle.manifest import CARD, MANIFEST, WEIGHTS, Kind, read
from lightning_rec.bundle.opening import open_bundle
from lightning_rec.bundle.packed import Packed
from lightning_rec.config import plain
from lightning_rec.data.clicks.processor import TABLES
from lightning_rec.documents import config_yaml, read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, write_json, write_text
from lightning_rec.models.clicks.parts import FittedToClicks
from lightning_rec.problems.base import Problem
from lightning_rec.problems.click_updating import ROWS
from lightning_rec.problems.learnt_rows import LEARNT
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder

TRAINING = "training.json"
# Of data: where they lie is nobody else's business.
FILES = ("path", "val", "test", "catalogue", "users", "graph")
PARTS: dict[Kind, tuple[str, ...]] = {"sequences": ("items", "users"), "clicks": TABLES}
EVENTS = {"events": pl.UInt32}
SHRUNK = "shrink.json"


def goes_on(problem: Problem[Any]) -> bool:
    """Whether a bundle holds the weights of a problem's model as they were trained: it has a table
    of vectors in place of whatever else describes items.
    """
    cfg = problem.cfg
    apart = [getattr(problem, part, None) for part in ("items", "pretrained", "template", "side")]
    apart += [cfg.model.get(key) for key in ("members", "encoder")]
    if any(apart) or isinstance(problem.meta_model, FittedToClicks):
        return False
    fitted = str((cfg.get("objective") or {}).get("_target_", "")).endswith(".ClosedForm")
    return problem.name in ("sequence", "click") and not fitted


def keep(packed: Packed, run: RunFolder, problem: Problem[Any]) -> dict[str, Any] | None:
    """The config of a run, to be written as ``training.json``, and into ``packed`` what it was
    trained on. None where nothing can go on from the bundle: without users it does not say whose
    events were learnt.
    """
    whole = all(name in packed.tables for name in PARTS.get(packed.kind, ("",)))
    if not whole or not goes_on(problem) or not _has(run, TRAINED):
        return None
    if packed.kind == "sequences" and len(packed.tables["users"]) != len(run.table(TRAINED)):
        return None
    packed.tables |= {name: run.table(name) for name in (TRAINED, LEARNT) if _has(run, name)}
    cfg: dict[str, Any] = plain(run.config)
    cfg["data"] |= {key: None for key in FILES if key in cfg["data"]}
    return cfg | {"logger": {}, "run_dir": None, "tracking": cfg["tracking"] | {"name": None}}


def _has(run: RunFolder, name: str) -> bool:
    return (run.path / f"{name}.parquet").is_file()


def unpack(bundle: Path, to: Path) -> RunFolder:
    """A run folder ``to`` with what a training that goes on reads of a bundle.

    Raises UserError if the bundle is not as it was written, or holds too little or what does not
    fit.
    """
    manifest = read(bundle)
    if TRAINING not in manifest.files or f"{TRAINED}.parquet" not in manifest.files:
        raise UserError(
            f"from={bundle} is a bundle that holds what answers and not what trains: its items are "
            "known by texts or vectors, its model is fitted at once or of several, or it was "
            "exported without users or by an earlier version. Name the run that it was exported "
            "from."
        )
    open_bundle(bundle)
    tables = {name: _table(bundle, name) for name in (*PARTS[manifest.kind], TRAINED)}
    check_trained(manifest.kind, tables)
    if f"{LEARNT}.parquet" in manifest.files:  # checked where it is read
        tables[LEARNT] = _table(bundle, LEARNT)
    with atomic_folder(to) as made:
        write_text(made / "config.yaml", config_yaml(_config(bundle)))
        card = {"status": "completed", "bundle": manifest.sha256, **_learnt(bundle)}
        write_json(made / "run.json", card)
        shutil.copyfile(bundle / WEIGHTS, made / WEIGHTS)
        if "items" in tables and "code" not in tables["items"].columns:
            tables["items"] = tables["items"].with_row_index("code")
        for name, table in tables.items():
            table.write_parquet(made / f"{name}.parquet")
        for path in sorted(made.iterdir()):
            checksums.record(made, path, path.name)
    return RunFolder.open(to)


def check_trained(kind: Kind, tables: dict[str, pl.DataFrame]) -> None:
    """Raise UserError unless ``trained`` has the columns, types and sizes that a run writes, and
    fits the tables beside it; see ``trained_of`` of sequences and of clicks.
    """
    found = tables[TRAINED]
    if kind == "clicks":
        if dict(found.schema) != ROWS or found.select("part", "rows").null_count().row(0) != (0, 0):
            raise _fault("has not the columns part, rows, since and until, or an empty cell")
        ends = found.select("since", "until").to_numpy().astype(np.float64)
        if (
            (found["rows"] <= 0).any()
            or not np.isfinite(ends).all()
            or (ends[:, 0] > ends[:, 1]).any()
        ):
            raise _fault("has a part without rows or times, or that ends before it begins")
        return
    timed = "until" in found.columns
    wanted = [*EVENTS, "until"] if timed else [*EVENTS]
    kinds = found.schema
    if found.columns != wanted or kinds["events"] != pl.UInt32 or found["events"].has_nulls():
        raise _fault("has not the columns events and until, or an empty cell")
    if timed and kinds["until"] not in (pl.Int64, pl.Float64):
        raise _fault(f"holds {kinds['until']} in 'until', where a number belongs")
    lists = tables["users"]["items"].list.len()
    if len(found) != len(lists) or (found["events"] > lists).any():
        raise _fault("has another number of users, or more events of one, than users.parquet")
    if timed:
        until = found.filter(pl.col("events") > 0)["until"].cast(pl.Float64)
        if until.has_nulls() or not until.is_finite().all():
            raise _fault("has no time of a user's last event")


def _table(bundle: Path, name: str) -> pl.DataFrame:
    path = bundle / f"{name}.parquet"
    if not path.is_file():
        raise UserError(f"{bundle} has no {name}.parquet: export it again, with its users.")
    try:
        return pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def _config(bundle: Path) -> Any:
    """The config of the training, which names no file of data: those are said anew."""
    tree = read_json(bundle / TRAINING)
    data = tree.get("data") if isinstance(tree, dict) else None
    if not isinstance(data, dict):
        raise UserError(f"{bundle / TRAINING} holds no config with data: export it again.")
    data |= {key: None for key in FILES if key in data}
    return OmegaConf.create(tree)


def _fault(told: str) -> UserError:
    return UserError(f"{TRAINED}.parquet {told}: export the model again.")


def check_kind(folder: Path) -> bool:
    """Whether a folder is a bundle. Raises UserError for a shrunk model, which nothing can go on
    from.
    """
    if (folder / SHRUNK).is_file():
        raise UserError(
            f"from={folder} is a shrunk model, whose numbers are rounded or are a graph of ONNX: "
            "name the run that it was made of, or a bundle of it."
        )
    return (folder / MANIFEST).is_file()


def _learnt(bundle: Path) -> dict[str, Any]:
    """What the card of a bundle says of the data that it was trained on, as far as it is of such a
    kind.
    """
    path = bundle / CARD
    said = read_json(path) if path.is_file() else {}
    kinds = {"data": str, "data_hash": str, "protocol": dict, "protocol_hash": str}
    known = said if isinstance(said, dict) else {}
    return {key: known[key] for key, kind in kinds.items() if isinstance(known.get(key), kind)}
