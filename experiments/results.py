"""Committed results as frames: our runs, the peers' on the same rows, and what is tried first."""

from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.documents import read_json
from lightning_rec.lab import read_runs
from lightning_rec.lab.reading import frame

HERE = Path(__file__).parent


@cache
def ours(folder: Path) -> pl.DataFrame:
    """All recorded runs of a folder, a line each, ordered by row and seed."""
    return read_runs(folder.resolve()).sort("row", "seed")


def of_row(folder: Path, row: str) -> pl.DataFrame:
    """The runs of a row; none while there is no run of it."""
    return ours(folder).filter(row=row)


def within(folder: Path, library: str, epochs: int) -> pl.DataFrame:
    """A peer's runs at their best validation within so many epochs, a line per seed."""
    lines = []
    for path in folder.glob(f"{library}_seed*.json"):
        run = read_json(path)
        curve = [entry for entry in run["curve"] if entry["epoch"] <= epochs]
        best = max(curve, key=lambda entry: float(entry["val/ndcg@10"]))
        lines.append({"run": str(path), "seed": run["seed"], **best})
    return frame(lines).sort("seed")


def peer(path: Path) -> tuple[str, pl.DataFrame]:
    """Version of a peer, and its runs with the hashes of their rows; none if it has not run."""
    if not path.exists():
        return "", pl.DataFrame()
    found = read_json(path)
    same = {key: found[key] for key in ("data_hash", "protocol_hash")}
    lines = [{"run": str(path), **same, **run} for run in found["runs"]]
    return found["versions"][found["library"]], frame(lines)


def first(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``folder/DATA.json``, by the name of the data."""
    return {path.stem: read_json(path)["rows"] for path in folder.glob("*.json")}


def baseline(runs: pl.DataFrame, name: str) -> pl.DataFrame:
    """What the first run measured of a baseline, under the names of its own figures."""
    names = {each: each.removeprefix(f"{name}/") for each in runs.columns if each.startswith(name)}
    return runs.head(1).select(pl.col(each).alias(name) for each, name in names.items())
