"""Bundles that somebody wrote who means harm: parts changed at random, and all hashes right."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file, save_file

from lightning_rec.bundle.manifest import write

JUNK: list[Any] = [
    None, True, -1, 0, 7, 2**31, 2**70, 1.5, 1e308, "", "x", "\ud7ff", [], [1], {}, {"a": 1}, [[]]
]  # fmt: skip
DTYPES: list[Any] = [
    pl.String, pl.Int64, pl.UInt8, pl.Float64, pl.Boolean, pl.Binary, pl.Date, pl.Null,
    pl.List(pl.Int64), pl.List(pl.String), pl.List(pl.UInt32), pl.List(pl.Float64),
    pl.Struct({"a": pl.Int64}), pl.Categorical,
]  # fmt: skip


def poisoned(bundle: Path, chance: Random) -> str:
    """Change one thing of a bundle in its place, seal it again, and say what it was."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    kind, settings = manifest["kind"], manifest["settings"]
    what = chance.choices(("table", "settings", "weights"), (6, 2, 2))[0]
    if what == "table":
        path = chance.choice(sorted(bundle.glob("*.parquet")))
        told, made = _table(pl.read_parquet(path), chance)
        made.write_parquet(path)
        told = f"{path.name}: {told}"
    elif what == "settings":
        told = f"settings: {_settings(settings, chance)}"
    else:
        told = f"weights: {_weights(bundle / 'weights.safetensors', chance)}"
    (bundle / "bundle.json").unlink()
    write(bundle, kind, settings)
    return told


def _table(of: pl.DataFrame, chance: Random) -> tuple[str, pl.DataFrame]:
    name, row = chance.choice(of.columns), chance.randrange(max(1, len(of)))
    at = pl.int_range(pl.len()) == row
    dtype = chance.choice(DTYPES)
    odd = chance.choice([0, -1, 7, 2**31 - 1, float("nan"), float("inf"), "i01", ""])
    changes: list[tuple[str, Any]] = [
        (f"no {name}", lambda: of.drop(name)),
        (f"{name} renamed", lambda: of.rename({name: f"{name}_"})),
        (f"{name} is {dtype}", lambda: of.with_columns(pl.lit(None).cast(dtype).alias(name))),
        (f"{name} cast to {dtype}", lambda: of.with_columns(pl.col(name).cast(dtype, strict=False))),
        (f"{name} empty in {row}", lambda: of.with_columns(pl.when(~at).then(pl.col(name)))),
        (f"row {row} twice", lambda: pl.concat([of, of.slice(row, 1)])),
        (f"no row {row}", lambda: of.filter(~at)),
        ("no rows", lambda: of.clear()),
        ("upside down", lambda: of.reverse()),
        ("one column more", lambda: of.with_columns(code=pl.lit(1), rank=pl.lit("x"))),
        ("columns reversed", lambda: of.select(of.columns[::-1])),
        (f"{name} is {odd!r} in {row}", lambda: of.with_columns(
            pl.when(at).then(pl.lit(odd).cast(of.schema[name])).otherwise(pl.col(name)).alias(name)
        )),
    ]  # fmt: skip
    for told, change in chance.sample(changes, len(changes)):
        try:
            return told, change()
        except (pl.exceptions.PolarsError, OverflowError):
            continue
    raise AssertionError("nothing could be changed")


def _settings(settings: Any, chance: Random) -> str:
    """Put something else at a place of the settings."""
    places: list[tuple[Any, Any, str]] = []

    def walk(node: Any, path: str) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(pairs):
            places.append((node, key, f"{path}.{key}"))
            if isinstance(value, dict | list):
                walk(value, f"{path}.{key}")

    walk(settings, "")
    node, key, path = chance.choice(places)
    if chance.random() < 0.3:
        del node[key]
        return f"no {path}"
    node[key] = chance.choice(JUNK)
    return f"{path} is {node[key]!r}"


def _weights(path: Path, chance: Random) -> str:
    weights = load_file(path)
    name = chance.choice(sorted(weights))
    of = weights[name]
    odd = chance.choice([float("nan"), float("inf"), -1, 2**31 - 1])
    changes: dict[str, Callable[[], Any]] = {
        "absent": lambda: None,
        "shorter": lambda: of[:-1].clone() if of.dim() else None,
        "another dtype": lambda: of.to(torch.int16 if of.is_floating_point() else torch.float64),
        f"all {odd}": lambda: torch.full(of.shape, odd).to(of.dtype),
        "flat": lambda: of.flatten()[None].clone(),
    }
    told = chance.choice(sorted(changes))
    made = changes[told]()
    weights = {key: value for key, value in weights.items() if key != name}
    save_file(weights if made is None else weights | {name: made}, path)
    return f"{name} {told}"
