"""The columns of a user's log: read with the right types, and every fault in them told."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from lightning_rec.data.ids import ids
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import (
    TIME_FORMS,
    TimeUnit,
    divisor,
    is_dates,
    is_epoch,
    raw_time,
    seconds,
)
from lightning_rec.errors import listed, nearest

_ROW = "__row"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; ``time_unit`` is that of numeric times.

    Where there are sessions, user and session together make a user.
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    time_unit: TimeUnit = "auto"
    session: str | None = None

    def named(self) -> dict[str, str]:
        """Role and column, for the roles that have one."""
        roles = {
            "user": self.user,
            "item": self.item,
            "session": self.session,
            "time": self.time,
            "rating": self.rating,
        }
        return {role: name for role, name in roles.items() if name is not None}


@dataclass(frozen=True)
class Log:
    """A log that was read through once.

    frame: ``user`` and ``item`` String, ``timestamp`` Int64 seconds and ``rating`` Float32 where
        there are such columns; null where there is a fault.
    rows: how many there are.
    faults: one sentence for each kind of fault, with the place of the first one.
    """

    frame: pl.LazyFrame
    rows: int
    faults: list[str]


def missing_columns(table: Table, columns: Columns) -> list[str]:
    """One sentence for each column that is not in the table, or used twice."""
    there = table.schema.names()
    faults = [
        f"{table.path} has no column '{name}' for the {role}; it has: {listed(there)}."
        f"{nearest(name, there)}"
        for role, name in columns.named().items()
        if name not in there
    ]
    if columns.user == columns.item:
        faults.append(f"User and item are both column '{columns.user}': name two columns.")
    return faults


def read_log(table: Table, columns: Columns) -> Log:
    """Read the log through once, in constant memory, and collect its faults.

    Raises UserError for what makes the file unreadable as a whole (ragged rows, broken gzip).
    """
    nested = [
        f"{table.path}: column '{name}' for the {role} holds {table.schema[name]}, no plain values."
        for role, name in columns.named().items()
        if table.schema[name].is_nested()
    ]
    if nested:
        return Log(table.frame, 0, nested)
    first = _first_time(table, columns)
    values = _values(table, columns, first)
    facts = _facts(table, columns, values)
    if facts.get("time") and columns.time and is_dates(table.schema[columns.time], first):
        values = _values(table, columns, first, mixed=True)
        facts = _facts(table, columns, values)
    rows = facts["rows"] if table.separator is None else facts["last"] + 1
    if rows == 0:
        return Log(table.frame, 0, [f"{table.path} has a header but no data rows."])
    faults = list(_faults(table, columns, facts))
    scale = 1.0
    if facts.get("time_max") is not None and is_epoch(table.schema[str(columns.time)], first):
        try:
            scale = divisor(facts["time_min"], facts["time_max"], columns.time_unit)
        except ValueError as error:
            faults.append(f"{table.path}: column '{columns.time}' {error}.")
    return Log(table.frame.head(rows).select(_typed(values, scale)), rows, faults)


def _first_time(table: Table, columns: Columns) -> str | None:
    """First value of a text column of times: it settles whether they are numbers or dates."""
    if columns.time is None or table.schema[columns.time] != pl.String:
        return None
    time = pl.col(columns.time)
    found = table.collect(table.frame.select(time).filter(time.is_not_null()).head(1))
    return str(found.item()).strip() if found.height else None


def _values(
    table: Table, columns: Columns, first: str | None, mixed: bool = False
) -> dict[str, pl.Expr]:
    """Expression of each role's values; null where a value is missing or cannot be read."""
    schema = table.schema
    values = {
        "user": ids(pl.col(columns.user), schema[columns.user]),
        "item": ids(pl.col(columns.item), schema[columns.item]),
    }
    if columns.session is not None:
        values["session"] = ids(pl.col(columns.session), schema[columns.session])
    if columns.time is not None:
        values["time"] = raw_time(columns.time, schema[columns.time], first, mixed)
    if columns.rating is not None:
        rating = pl.col(columns.rating).cast(pl.Float64, strict=False)
        values["rating"] = pl.when(rating.is_finite()).then(rating)
    return values


def _facts(table: Table, columns: Columns, values: dict[str, pl.Expr]) -> dict[str, Any]:
    """All that one pass over the file tells: counts, first bad rows, range of the times."""
    row = pl.col(_ROW)
    blank = pl.all_horizontal(pl.col(name).is_null() for name in columns.named().values())
    # Blank lines at the end of a text file are no rows; anywhere else they are a fault.
    facts = [pl.len().alias("rows"), row.filter(~blank).max().alias("last")]
    facts += [blank.sum().alias("blank"), row.filter(blank).min().alias("blank_row")]
    for role, value in values.items():
        bad = value.is_null() if table.separator is None else value.is_null() & ~blank
        facts += [bad.sum().alias(role), row.filter(bad).min().alias(f"{role}_row")]
    if "time" in values:
        facts += [values["time"].min().alias("time_min"), values["time"].max().alias("time_max")]
    found = table.collect(table.frame.with_row_index(_ROW).select(facts)).row(0, named=True)
    return {**found, "last": -1 if found["last"] is None else found["last"]}


def _faults(table: Table, columns: Columns, facts: dict[str, Any]) -> Iterator[str]:
    """One sentence for each role with bad values."""
    if table.separator is not None and facts["blank"] > facts["rows"] - 1 - facts["last"]:
        yield f"{table.where(facts['blank_row'])} is blank: remove it."
    for role, name in columns.named().items():
        count, row = facts[role], facts[f"{role}_row"]
        if not count:
            continue
        more = f" ({count:,} such rows)" if count > 1 else ""
        value = table.collect(table.frame.slice(row, 1).select(name)).item()
        empty = value is None or not str(value).strip()
        if role in ("user", "item", "session"):
            what = "is empty" if empty else f"is '{value}', which stands for none"
            yield f"{table.where(row)}: the {role} id in column '{name}' {what}{more}."
        elif empty:
            yield f"{table.where(row)}: the {role} in column '{name}' is empty{more}."
        elif role == "time":
            yield (
                f"{table.where(row)}: '{value}' in column '{name}' is no time{more}. "
                f"Times are {TIME_FORMS}, one kind per column."
            )
        else:
            yield f"{table.where(row)}: '{value}' in column '{name}' is no number{more}."


def _typed(values: dict[str, pl.Expr], scale: float) -> list[pl.Expr]:
    user = values["user"]
    if "session" in values:
        # A slash within an id is doubled, so that no two sessions have one name.
        both = (
            values[role].str.replace_all("/", "//", literal=True) for role in ("user", "session")
        )
        user = pl.concat_str(both, separator=" / ")
    typed = [user.alias("user"), values["item"].alias("item")]
    if "time" in values:
        typed.append(seconds(values["time"], scale).alias("timestamp"))
    if "rating" in values:
        typed.append(values["rating"].cast(pl.Float32).alias("rating"))
    return typed
