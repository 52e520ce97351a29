"""Checking a user's file: everything that is wrong or odd about it, at once."""

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from lightning_rec.data.columns import missing_columns, read_log, told_dropped
from lightning_rec.data.plain import WrongEncoding
from lightning_rec.data.propose import ROLES, command, described, holds_lists, roles
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.statistics import Statistics, statistics
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.errors import UserError, listed
from lightning_rec.screen import visible

_SHORT_HISTORY = 3  # one event each to train on, to validate and to test
_FIRST_SHOP = int(datetime(1995, 1, 1, tzinfo=timezone.utc).timestamp())


@dataclass
class Report:
    """What was found in a file.

    errors: faults that keep it from being used, one sentence each.
    warnings: what may be right, but is worth a look.
    statistics: of the rows that can be read; None if none can.
    droppable: whether all errors are of single rows, which can be left out.
    command: the line that trains on the file; None if nothing does.
    """

    path: Path
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statistics: Statistics | None = None
    droppable: bool = False
    command: str | None = None

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
        parts += [Text(visible(f"error: {error}"), style="red") for error in self.errors]
        parts += [Text(visible(f"warning: {warning}"), style="yellow") for warning in self.warnings]
        kinds = (("error", self.errors), ("warning", self.warnings))
        found = [f"{len(all_)} {kind}{'s' * (len(all_) > 1)}" for kind, all_ in kinds if all_]
        verdict = listed(found) or "nothing to complain about"
        parts.append(Text(visible(f"{self.path}: {verdict}.")))
        if self.command is not None:
            parts.append(Text(f"To train on it:\n{self.command}"))
        return Group(*parts)


def check_file(path: Path, **given: Any) -> Report:
    """Read a file through and report all that is wrong with it, and how it can be trained on.

    Args:
        path: delimited text, JSON lines or Parquet, packed or not, or a folder of such files.
        given: settings of ``data=table``. What is needed and not among them is guessed: form,
            header, encoding, columns of users and items, and, where neither is given, of times.
    """
    report = Report(path)
    settings = dict(given)
    try:
        try:
            _checked(path, settings, report)
        except WrongEncoding as error:
            if "encoding" in given:
                raise
            report.warnings.append(f"{error} {error.encoding} is taken.")
            settings = {**given, "encoding": error.encoding}
            _checked(path, settings, report)
    except UserError as error:
        report.errors.append(str(error))
    if report.statistics is not None and (report.ok or report.droppable):
        drop = {"invalid": "drop"} if report.errors else {}
        report.command = command(path, {**settings, **drop})
    return report


def _checked(path: Path, settings: dict[str, Any], report: Report) -> None:
    """Complete the settings, read the columns, and add faults, figures and warnings to the report.

    Raises UserError if the file cannot be read at all.
    """
    described_ = described(path, settings)
    settings |= described_
    if described_:
        told = listed(f"{key}={value}" for key, value in described_.items())
        report.warnings.append(f"{path} seems to have no header; this is taken: {told}.")
    dialect = TableSource(str(path), "user", "item", **_form(settings)).dialect
    table = open_table(path, dialect)
    bare = not {"user", "item"} & set(settings)
    found = roles(table, settings)
    if "session" in settings:
        found.pop("user", None)  # sessions stand where users would
    for role in ("item",) if "session" in settings else ("user", "item"):
        if role not in {**settings, **found} and role not in dialect.named:
            report.errors.append(
                f"Which column holds the {role} ids? Say {role}=COLUMN; "
                f"there are: {listed(table.schema.names())}."
            )
    for role, column in found.items():
        if column in dialect.named:
            continue  # read without being named
        if role in ("user", "item") or (bare and role in ROLES):
            report.warnings.append(
                f"The {role} column is not named; '{column}' is taken: {role}={column}."
            )
            settings[role] = column
        elif role == "time":
            report.warnings.append(
                f"No column of times is named, so the order of the rows counts; "
                f"'{column}' may be one: time={column}."
            )
    if report.errors:
        return
    item = str(settings.get("item", "item"))
    if "form" not in settings and holds_lists(table, item):
        report.warnings.append(f"Column '{item}' holds lists: a row is many events, form=lists.")
        settings["form"] = "lists"
    source = TableSource(str(path), **settings)
    _read(open_table(path, source.dialect), source, report)


def _form(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that say how a file is written."""
    return {key: value for key, value in settings.items() if key not in (*ROLES, "path")}


def _read(table: Table, source: TableSource, report: Report) -> None:
    """Read the columns; add faults, figures and warnings to the report."""
    faults = missing_columns(table, source.columns)
    if faults:
        report.errors += faults
        return
    log = read_log(table, source.columns, source.invalid)
    report.errors += log.faults
    report.droppable = log.droppable
    if log.dropped:
        report.warnings.append(f"{told_dropped(log.dropped)}.")
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
