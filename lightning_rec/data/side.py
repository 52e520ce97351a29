"""What a log says of its events, and a table of its users, as rows of one table of vectors.

A column is made of categories: values as they are, or numbers cut into bins. Row 0 stands for what
is missing, or was not met in training. Shapes: n events or users, F columns.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError, listed, nearest

DERIVED = ("gap", "hour", "weekday")  # columns that times give
BINS = 16  # of numbers, equally frequent in training
_VALUES = 32  # different numbers up to which each is a category of its own


class Column(NamedTuple):
    """A column whose categories have the rows from ``start`` on.

    values: the categories as texts; None where it is cut into bins by ``edges``.
    """

    name: str
    start: int
    values: list[str] | None
    edges: list[float]

    @property
    def size(self) -> int:
        """How many categories it has."""
        return len(self.edges) + 1 if self.values is None else len(self.values)


class Columns(tuple[Column, ...]):
    """Columns of one table of vectors, of events or of users."""

    __slots__ = ()

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return [column.name for column in self]

    @property
    def size(self) -> int:
        """Rows of the table, that for what is missing among them."""
        return 1 + sum(column.size for column in self)

    def rows(self, table: pl.DataFrame) -> NDArray[np.int32]:
        """The rows of n events or users, int32 [n, F]; a column that is not there is missing."""
        found = np.zeros((len(table), len(self)), dtype=np.int32)
        for place, column in enumerate(self):
            if column.name not in table.columns:
                continue
            given = table[column.name]
            if column.values is None:
                value = _numbers(given)
                row = column.start + np.searchsorted(column.edges, value, side="right")
                found[:, place] = np.where(np.isnan(value), 0, row)
            else:
                known = pl.DataFrame({"value": column.values}).with_row_index("row", column.start)
                met = ids_of(given).alias("value").to_frame()
                joined = met.join(known, "value", "left", maintain_order="left")["row"]
                found[:, place] = joined.fill_null(0).to_numpy()
        return found

    def plain(self) -> list[dict[str, Any]]:
        """As plain values, to be written down."""
        return [{"name": each.name, "values": each.values, "edges": each.edges} for each in self]

    @classmethod
    def of_plain(cls, columns: Iterable[dict[str, Any]]) -> "Columns":
        """Of what :meth:`plain` gave. Raises ValueError for anything else."""
        made, start = [], 1
        for each in columns:
            name, values, edges = each["name"], each["values"], list(each["edges"] or ())
            texts = values is None or all(isinstance(value, str) for value in values)
            if not isinstance(name, str) or not texts or edges != sorted(map(float, edges)):
                raise ValueError(f"a column of events or users is not as it is written: {name}")
            column = Column(name, start, None if values is None else list(values), edges)
            made.append(column)
            start += column.size
        return cls(made)


def fitted(table: pl.DataFrame) -> Columns:
    """Columns with the categories of the events, or users, of training."""
    found = []
    for name in table.columns:
        column, value = table[name], _numbers(table[name])
        met = ids_of(column).drop_nulls()
        numeric = int((~np.isnan(value)).sum()) == len(met)
        if numeric and met.n_unique() > _VALUES:
            cuts = np.quantile(value[~np.isnan(value)], np.arange(1, BINS) / BINS)
            found.append({"name": name, "values": None, "edges": np.unique(cuts).tolist()})
        else:
            values = met.unique().sort().to_list()
            found.append({"name": name, "values": values, "edges": []})
    return Columns.of_plain(found)


def share(rows: NDArray[np.int32], size: int) -> NDArray[np.float32]:
    """How often each row of the table is met, of n: float32 [size]."""
    counted = np.bincount(rows.ravel(), minlength=size)
    return (counted / max(1, len(rows))).astype(np.float32)


def chosen(known: pl.DataFrame, names: Sequence[str], key: str, more: str) -> pl.DataFrame:
    """The named columns. Raises UserError for one that is not there; ``more`` says what to do."""
    for name in names:
        if name not in known.columns:
            there = f"there are {listed(known.columns)}" if known.columns else "there are none"
            told = f"{key}: no column '{name}' is known; {there}.{nearest(name, known.columns)}"
            raise UserError(f"{told} {more}".strip())
        if known[name].dtype.is_nested():
            raise UserError(f"{key}: the column '{name}' holds lists: one value each is read.")
    return known.select(names)


def of_times(times: NDArray[Any], offsets: Ints) -> pl.DataFrame:
    """What times tell: ``gap``, seconds since the event before of the same history, null for its
    first one; ``hour`` (0 to 23) and ``weekday`` (1 to 7, from Monday) in UTC.

    ``times``: seconds since 1970, [S]; history i has those from ``offsets[i]`` on: int64 [n + 1].
    """
    gap = np.diff(times, prepend=0).astype(np.float64)
    first = offsets[:-1][np.diff(offsets) > 0]
    gap[first] = np.nan
    moment = pl.from_epoch(pl.Series(np.floor(times).astype(np.int64)), "s")
    told = {"gap": gap, "hour": moment.dt.hour(), "weekday": moment.dt.weekday()}
    return pl.DataFrame(told).with_columns(pl.col("gap").fill_nan(None))


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    """As numbers, NaN for what is none: float64 [n]."""
    if column.dtype.is_temporal():
        column = column.to_physical()
    found = column.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)
