"""Checking a user's file: everything that is wrong or odd about it, at once."""

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from lightning_rec.data.columns import Columns, missing_columns, read_log
from lightning_rec.data.statistics import Statistics, statistics
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.data.times import TimeUnit
from lightning_rec.errors import UserError, listed

_NAMES = {
    "user": ("user", "uid", "visitor", "customer", "member", "reviewer", "account", "client"),
    "item": ("item", "iid", "sku", "product", "movie", "article", "asin", "track", "book", "song"),
    "time": ("time", "ts", "date", "datetime", "created", "when"),
}
_SHORT_HISTORY = 3  # one event each to train on, to validate and to test
_FIRST_SHOP = int(datetime(1995, 1, 1, tzinfo=timezone.utc).timestamp())


@dataclass
class Report:
    """What was found in a file.

    errors: faults that keep it from being used, one sentence each.
    warnings: what may be right, but is worth a look.
    statistics: of the rows that can be read; None if none can.
    """

    path: Path
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statistics: Statistics | None = None

    @property
    def ok(self) -> bool:
        """Whether the file can be used as it is."""
        return not self.errors

    def __rich__(self) -> RenderableType:
        """Figures, then errors and warnings, then the verdict."""
        parts: list[RenderableType] = []
        if self.statistics is not None:
            grid = Grid(title=self.path.name, show_header=False, title_justify="left")
            for name, value in self.statistics.rows():
                grid.add_row(name, value)
            parts.append(grid)
        parts += [Text(f"error: {error}", style="red") for error in self.errors]
        parts += [Text(f"warning: {warning}", style="yellow") for warning in self.warnings]
        kinds = (("error", self.errors), ("warning", self.warnings))
        found = [f"{len(all_)} {kind}{'s' * (len(all_) > 1)}" for kind, all_ in kinds if all_]
        parts.append(Text(f"{self.path}: {listed(found) or 'nothing to complain about'}."))
        return Group(*parts)


def check_file(
    path: Path,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    rating: str | None = None,
    time_unit: TimeUnit = "auto",
) -> Report:
    """Read a file through and report all that is wrong with it.

    Args:
        path: CSV, TSV, gzip of either, Parquet, or a folder of Parquet.
        user: column of user ids; None guesses it, and says so. Likewise ``item``.
        item: column of item ids.
        time: column of times, or None.
        rating: column of ratings, or None.
        time_unit: unit of numeric times.
    """
    report = Report(path)
    try:
        table = open_table(path)
        user = user or _guessed(table, "user", report)
        item = item or _guessed(table, "item", report)
        if time is None and (guess := _guess(table, "time")):
            report.warnings.append(
                f"No column of times is named, so the order of the rows counts; "
                f"'{guess}' may be one: time={guess}."
            )
        if user is not None and item is not None:
            _read(table, Columns(user, item, time, rating, time_unit), report)
    except UserError as error:
        report.errors.append(str(error))
    return report


def _guess(table: Table, role: str) -> str | None:
    """A column whose name sounds like the role: the same word, else one that begins with it."""
    columns = table.schema.names()
    for word in _NAMES[role]:
        for sounds in (str.__eq__, str.startswith):
            for name in columns:
                if sounds(name.lower(), word):
                    return name
    return None


def _guessed(table: Table, role: str, report: Report) -> str | None:
    name = _guess(table, role)
    if name is None:
        report.errors.append(
            f"Which column holds the {role} ids? Say {role}=COLUMN; "
            f"there are: {listed(table.schema.names())}."
        )
    else:
        report.warnings.append(f"The {role} column is not named; '{name}' is taken: {role}={name}.")
    return name


def _read(table: Table, columns: Columns, report: Report) -> None:
    """Read the columns; add faults, figures and warnings to the report."""
    faults = missing_columns(table, columns)
    if faults:
        report.errors += faults
        return
    log = read_log(table, columns)
    report.errors += log.faults
    if log.rows == 0:
        return
    sound = log.frame.drop_nulls()
    figures = statistics(sound)
    if figures.events:
        report.statistics = figures
        report.warnings += _oddities(sound, figures)


def _oddities(events: pl.LazyFrame, figures: Statistics) -> Iterator[str]:
    """One sentence for each thing that is allowed, but seldom meant."""
    distinct = pl.struct(pl.all()).hash().n_unique()
    doubled = figures.events - events.select(distinct).collect(engine="streaming").item()
    if doubled:
        yield f"{doubled:,} rows are exact copies of another row; they count as events."
    few = _rarer(events, "user", _SHORT_HISTORY)
    if few:
        yield (
            f"{few:,} of {figures.users:,} users have fewer than {_SHORT_HISTORY} events: too few "
            "to train on, to validate and to test."
        )
    if once := _rarer(events, "item", 2):
        yield f"{once:,} of {figures.items:,} items occur only once."
    if figures.first is None or figures.last is None:
        return
    if figures.first == figures.last:
        yield "All times are the same: no order can be learnt from them."
    stamp = pl.col("timestamp")
    for words, odd in (
        ("before 1995", stamp < _FIRST_SHOP),
        ("in the future", stamp > int(clock.time())),
    ):
        if count := events.select(odd.sum()).collect(engine="streaming").item():
            yield f"{count:,} times are {words}: is the unit right?"


def _rarer(events: pl.LazyFrame, key: str, least: int) -> int:
    """Count the values of ``key`` with fewer than ``least`` events."""
    counts = events.group_by(key).agg(pl.len().alias("count"))
    rare = counts.select((pl.col("count") < least).sum())
    return int(rare.collect(engine="streaming").item())
