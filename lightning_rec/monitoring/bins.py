"""Distributions as counts in bins: of numbers between quantiles, of categories by value.

Each unit, mostly a user, weighs 1 in all, however much he did: rows of one user are alike, so
that users, not rows, are what chance drew.
"""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.errors import UserError

Floats = NDArray[np.float64]
Kind = Literal["numbers", "categories"]
TOP, FINE = 20, 100  # categories that have their own bin; quantiles of numbers
UNKNOWN, OTHER, EMPTY = "unknown", "(other)", "(empty)"
SCHEMA = {
    "name": pl.String, "kind": pl.String, "bin": pl.String, "edge": pl.Float64,
    "share": pl.Float64, "units": pl.Int64,
}  # fmt: skip


class Distribution(NamedTuple):
    """shares: of units in each bin, float64 [B], summing to 1.  units: how many.

    bins: their names [B], the last one of what is empty; of categories that of what the model does
    not know, and of others, are before it.
    edges: of numbers, where each bin but the first begins, float64 [B - 2], rising.
    """

    kind: Kind
    bins: list[str]
    edges: Floats
    shares: Floats
    units: int


def distribution(observed: pl.DataFrame, known: Distribution | None = None) -> Distribution:
    """That of ``unit`` and ``value`` (text or a number, null if empty), in the bins of ``known``.

    Without ``known`` bins are made: quantiles of the numbers, or the most frequent categories.
    """
    if known is None:
        known = _bins_of(observed["value"])
    by_unit = unit_shares(observed, known)
    units = len(by_unit)
    return known._replace(shares=by_unit.sum(0) / max(1, units), units=units)


def codes(values: pl.Series, known: Distribution) -> NDArray[np.int64]:
    """The bin of each value, int64 [n]."""
    empty = len(known.bins) - 1
    if known.kind == "numbers":
        numbers = values.cast(pl.Float64, strict=False).fill_nan(None)
        found = np.searchsorted(known.edges, numbers.fill_null(0.0).to_numpy(), side="right")
        return np.where(numbers.is_null().to_numpy(), empty, found).astype(np.int64)
    texts = values.cast(pl.String)
    own = {name: place for place, name in enumerate(known.bins[:-2])}
    places = texts.replace_strict(own, default=empty - 1, return_dtype=pl.Int64)
    return places.set(texts.is_null(), empty).to_numpy()


def unit_shares(observed: pl.DataFrame, known: Distribution) -> Floats:
    """The share of each bin in what a unit did, float64 [units, B]."""
    if not len(observed):
        return np.zeros((0, len(known.bins)))
    unit = observed["unit"].rank("dense").to_numpy().astype(np.int64) - 1
    size, width = int(unit.max()) + 1, len(known.bins)
    place = unit * width + codes(observed["value"], known)
    counts = np.bincount(place, minlength=size * width).reshape(size, width).astype(np.float64)
    shares: Floats = counts / counts.sum(1, keepdims=True)
    return shares


def _bins_of(values: pl.Series) -> Distribution:
    if values.dtype.is_numeric():
        present = values.drop_nulls().drop_nans().cast(pl.Float64).to_numpy()
        found = np.quantile(present, np.arange(1, FINE) / FINE) if len(present) else []
        # A bin holds its own edge, and the least value is in the first.
        edges = np.unique(found)
        edges = edges[edges > present.min()] if len(edges) else edges
        names = [f"{edge:.6g}" for edge in edges]
        bins = [f"{low} to {high}" for low, high in zip(["", *names], [*names, ""], strict=True)]
        return Distribution("numbers", [*bins, EMPTY], edges, np.zeros(0), 0)
    counted = values.drop_nulls().cast(pl.String).value_counts().sort(
        pl.col("count"), pl.nth(0), descending=[True, False]
    )  # fmt: skip
    top = [name for name in counted.to_series(0).head(TOP).to_list() if name != UNKNOWN]
    return categories(top)


def categories(names: list[str]) -> Distribution:
    """Bins of some categories, without shares."""
    bins = [*names, UNKNOWN, OTHER, EMPTY]
    return Distribution("categories", bins, np.zeros(0), np.zeros(0), 0)


def to_table(found: dict[str, Distribution]) -> pl.DataFrame:
    """Distributions as one table, a row for each bin, to be kept."""
    parts = [pl.DataFrame(schema=SCHEMA)]
    for name, of in found.items():
        edges = [None, *of.edges.tolist(), None] if of.kind == "numbers" else [None] * len(of.bins)
        columns = {"bin": of.bins, "edge": edges, "share": of.shares}
        rows = pl.DataFrame(columns, schema_overrides={"edge": pl.Float64})
        about = {"name": name, "kind": of.kind, "units": of.units}
        parts.append(rows.with_columns(**{k: pl.lit(v) for k, v in about.items()}))
    return pl.concat([part.select(*SCHEMA).cast(SCHEMA) for part in parts])  # type: ignore[arg-type]


def of_table(table: pl.DataFrame) -> dict[str, Distribution]:
    """What :func:`to_table` wrote. Raises UserError for another table."""
    if table.schema != pl.Schema(SCHEMA):
        raise UserError("The distributions to compare with are not as export writes them.")
    found = {}
    for (name,), rows in table.partition_by("name", as_dict=True, maintain_order=True).items():
        kind: Kind = "numbers" if rows["kind"][0] == "numbers" else "categories"
        edges = rows["edge"].drop_nulls().to_numpy()
        shares = rows["share"].to_numpy()
        found[str(name)] = Distribution(
            kind, rows["bin"].to_list(), edges, shares, rows["units"][0]
        )
    return found
