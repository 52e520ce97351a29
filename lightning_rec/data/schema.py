"""What data looks like once prepared: the interactions, their catalogue, and where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.core.prepared import Prepared, Raw

TIMED = ("timestamp", "fraction")  # columns that say when an event was


class Tables(NamedTuple):
    """What a source reads from its raw files, ids still as they came (strings).

    interactions: ``user`` String, ``item`` String, optionally ``timestamp`` Int64 (seconds since
        1970), ``fraction`` Int32 (microseconds after them), ``rating`` Float32, ``part`` Int8 where
        the data came split (0 trains, 1 validates, 2 is tested, -1 only shows what was before), and
        context columns. Rows in the order of the file. Without ``timestamp`` the order of the file
        is the order of time.
    items: ``item`` String (unique), optionally ``title`` String, and features; or None.
    users: ``user`` String (unique) and features; or None.
    dropped: rows of the raw files that were left out, by what they lack; ``rows``: all of them.
    """

    interactions: pl.LazyFrame
    items: pl.LazyFrame | None = None
    users: pl.LazyFrame | None = None
    dropped: Mapping[str, int] = MappingProxyType({})


class Source(Raw, Protocol):
    """A data set of interactions that knows how to find its raw files and to read them."""

    def read(self, files: list[Path]) -> Tables:
        """Read the raw files. Raises UserError naming file, line or column."""
        ...


@dataclass(frozen=True)
class Interactions(Prepared):
    """Prepared data in a folder, ids as codes, written once and never changed.

    ``interactions.parquet``: ``user`` and ``item`` Int32 codes, ``timestamp`` Int64 (if known),
        ``fraction`` Int32 microseconds (if any time has them), ``rating`` Float32 (if known),
        context columns; rows in the order of the source file.
    ``users.parquet``, ``items.parquet``: row ``i`` describes code ``i``; the columns ``user`` and
        ``item`` hold the raw ids. Codes follow the order of first appearance in the interactions;
        catalogue rows without interactions come last.
    ``info.json``: ``name``, ``data_hash``, counts, ``notes`` (what the user should know, in
        sentences) and the sources with their sha256.
    """

    @property
    def events(self) -> pl.LazyFrame:
        """The interactions."""
        return pl.scan_parquet(self.folder / "interactions.parquet", glob=False)

    @property
    def users(self) -> pl.DataFrame:
        """One row per user code."""
        return pl.read_parquet(self.folder / "users.parquet", glob=False)

    @property
    def items(self) -> pl.DataFrame:
        """One row per item code."""
        return pl.read_parquet(self.folder / "items.parquet", glob=False)

    def described(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Some of the events with raw ids instead of codes, and what is known of both."""
        for key, table in self._known.items():
            code = pl.col(key)
            events = events.with_columns(pl.lit(column).gather(code) for column in table)
        return events

    @cached_property
    def _known(self) -> dict[str, pl.DataFrame]:
        return {"user": self.users, "item": self.items}


def times(events: pl.DataFrame) -> NDArray[Any] | None:
    """When each event was, seconds since 1970: int64, or float64; None without times."""
    if "timestamp" not in events.columns:
        return None
    if "fraction" not in events.columns:
        return events["timestamp"].to_numpy()
    return (events["timestamp"] + events["fraction"] / 10**6).to_numpy()


def ticks(events: pl.LazyFrame) -> tuple[pl.Expr, int]:
    """When each event was in whole numbers, Int64, and how many of these make a second."""
    if "fraction" not in events.collect_schema():
        return pl.col("timestamp"), 1
    return pl.col("timestamp") * 10**6 + pl.col("fraction"), 10**6
