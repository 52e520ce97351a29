"""The columns of a user's log: read with the right types, and every fault in them told."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from lightning_rec.data import numbers, times
from lightning_rec.data.dialect import Invalid
from lightning_rec.data.events import LISTED, ROW, Columns, events, scanned, time_reading
from lightning_rec.data.ids import AROUND, MISSING, ids, stripped
from lightning_rec.data.kinds import holds, values_of
from lightning_rec.data.lists import lists, unreadable
from lightning_rec.data.names import no_column
from lightning_rec.data.tabular import Table
from lightning_rec.data.ties import Ties, shuffled
from lightning_rec.data.times import Reading, WrittenDates, divisor, microseconds, seconds
from lightning_rec.errors import listed

_MOMENT = "moment"
_IDS = ("user", "item", "session")
_DROPPED = {"ragged": "with too many fields", "kind": "that data.keep leaves out"}
_SHOWN = 60  # characters of a value that are shown


@dataclass(frozen=True)
class Log:
    """A log that was read through once.

    frame: ``user`` and ``item`` String, ``timestamp`` Int64 seconds and ``fraction`` Int32
        microseconds after them, ``moment`` the time as it came, and ``rating`` Float32, where there
        are such columns; null where there is a fault; and features of events as they are.
    rows: how many events there are.
    faults: one sentence for each kind of fault, with the place of the first one.
    dropped: rows left out, by what they lack; ``rows``: all, ``ragged``: with too many fields.
    droppable: whether all faults are of single rows, fewer than half of them.
    remedy: settings of ``data=table`` that may mend the faults.
    """

    frame: pl.LazyFrame
    rows: int
    faults: list[str]
    dropped: dict[str, int] = field(default_factory=dict)
    droppable: bool = False
    remedy: Mapping[str, Any] = field(default_factory=dict)

    def ordered(self, ties: Ties = "file") -> pl.LazyFrame:
        """The events without ``moment``, by time, to its full precision, then by user. What is
        alike in both stays as in the file, or is shuffled as ``ties`` says.
        """
        if _MOMENT not in self.frame.collect_schema():
            return self.frame
        if ties == "shuffle":
            return shuffled(self.frame, _MOMENT).drop(_MOMENT)
        return self.frame.sort([_MOMENT, "user"], maintain_order=True).drop(_MOMENT)


def read_log(table: Table, columns: Columns, invalid: Invalid = "error") -> Log:
    """Read the log through once, in constant memory, and collect its faults; ``invalid="drop"``
    leaves faulty rows out. Raises UserError for what makes the file unreadable as a whole.
    """
    if unfit := _missing(table, columns) or list(_unfit(table, columns)):
        return Log(table.frame, 0, unfit)
    try:
        source, types = events(table, columns)
        reading, values, facts = _read(table, columns, source, types)
    except ValueError as error:
        return Log(table.frame, 0, [str(error)])
    if facts["rows"] == 0:
        if columns.kept:
            return Log(table.frame, 0, [_none_kept(table, columns)])
        header = "a header but " if table.is_text and table.dialect.headed else ""
        return Log(table.frame, 0, [f"{table.path} has {header}no data rows."])
    dropped, droppable = {}, 0 < 2 * facts["bad"] < facts["rows"]
    mend: dict[str, Any] = {}
    if invalid == "drop" and 0 < facts["bad"] < facts["rows"]:
        lacks = {role: facts[role] for role in values if facts[role]}
        ragged = {"ragged": table.ragged} if table.ragged else {}
        dropped = {"rows": facts["bad"], **lacks, **ragged}
        source = source.filter(pl.all_horizontal(value.is_not_null() for value in values.values()))
        faults = []
    else:
        faults = list(_faults(table, columns, facts))
        comma = re.match(numbers.COMMA, str(facts.get("rating_value")).strip())
        if comma and table.dialect.decimal == "point":
            mend["decimal"] = "comma"
    if columns.kept:
        out = table.collect(table.frame.select((~holds(table, columns.kept)).sum())).item()
        if out:
            dropped = {**dropped, "rows": dropped.get("rows", 0) + out, "kind": out}
    scale = 1.0
    if reading is not None and facts["time_max"] is not None:
        try:
            scale = reading.per_second or divisor(
                facts["time_min"], facts["time_max"], columns.times.unit
            )
        except ValueError as error:
            faults.append(f"{table.path}: column '{columns.time}' {error}.")
            droppable = False
            mend |= {"time_format": error.format} if isinstance(error, WrittenDates) else {}
    if table.is_text:
        source = source.filter(pl.col(ROW) <= facts["last"])
    typed = _typed(source, values, scale, columns.features)
    return Log(typed, facts["rows"], faults, dropped, droppable, mend)


def told_dropped(dropped: Mapping[str, int]) -> str:
    """What was dropped, in words."""
    told = [
        f"{count:,} {_DROPPED.get(role, f'without {role}')}"
        for role, count in dropped.items()
        if role != "rows" and count
    ]
    return f"{dropped['rows']:,} rows were dropped ({listed(told) or 'blank'})"


def _missing(table: Table, columns: Columns) -> list[str]:
    """One sentence for each column that is not in the table, or used twice."""
    names = table.schema.names()
    faults = [
        no_column(table.path, name, f"the {role}", names)
        for role, name in columns.named().items()
        if name not in names
    ]
    more = {**dict.fromkeys(columns.features, "data.features"),
            **{each: "data.keep" for each, _ in columns.kept}}  # fmt: skip
    faults += [no_column(table.path, each, role, names) for each, role in more.items()
               if each not in names]  # fmt: skip
    if columns.user == columns.item:
        faults.append(f"User and item are both column '{columns.user}': name two columns.")
    return faults


def _none_kept(table: Table, columns: Columns) -> str:
    told = listed(f"{name} ({values_of(table, name)})" for name, _ in columns.kept)
    said = listed(f"{name}: [{listed(values)}]" for name, values in columns.kept)
    return f"{table.path} has no row of data.keep={{{said}}}; there are: {told}."


def _unfit(table: Table, columns: Columns) -> Iterator[str]:
    """One sentence for each column whose type cannot hold what it should."""
    exploded = table.dialect.form != "rows"
    for role, name in columns.named().items():
        dtype = table.schema[name]
        where = f"{table.path}: column '{name}' for the {role} holds"
        if isinstance(dtype, pl.List | pl.Array) and role == "history":
            continue
        if isinstance(dtype, pl.List | pl.Array) and role in LISTED:
            if not exploded:
                yield f"{where} {dtype}: say data.form=lists if a row is many events."
        elif dtype.is_nested():
            yield f"{where} {dtype}, no plain values."
        elif role == "time" and dtype in (pl.Time, pl.Duration):
            yield f"{where} {dtype}, which is no moment."


def _read(
    table: Table, columns: Columns, source: pl.LazyFrame, types: dict[str, pl.DataType]
) -> tuple[Reading | None, dict[str, pl.Expr], dict[str, Any]]:
    """How times are read, each role as an expression, and what a pass tells. Raises ValueError."""
    values = {
        "user": _no_header(table, columns, ids(pl.col(columns.user), types[columns.user])),
        "item": ids(pl.col(columns.item), types[columns.item]),
    }
    if columns.session is not None:
        values["session"] = ids(pl.col(columns.session), types[columns.session])
    if columns.rating is not None:
        rating = numbers.numbers(
            pl.col(columns.rating), types[columns.rating], table.dialect.decimal
        )
        values["rating"] = pl.when(rating.is_finite()).then(rating)
    if columns.history is not None:
        values["history"] = _history(pl.col(columns.history), types[columns.history])
    if columns.time is None:
        return None, values, _facts(table, columns, source, values)

    def told(reading: Reading) -> dict[str, Any]:
        return _facts(table, columns, source, values | {"time": reading.value})

    reading, facts = time_reading(table, source, columns.time, columns.times, told)
    return reading, values | {"time": reading.value}, facts


def _no_header(table: Table, columns: Columns, user: pl.Expr) -> pl.Expr:
    """The users, null in rows that repeat the header, as files have that were put together."""
    if not (table.is_text and table.dialect.headed and table.dialect.form == "rows"):
        return user
    names = columns.named().values()
    return pl.when(pl.any_horizontal(stripped(pl.col(name)) != name for name in names)).then(user)


def _history(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """What was before, List[String], empty where nothing is said; null for what is no list."""
    read = lists(column, dtype)
    if isinstance(dtype, pl.List | pl.Array):
        return read.fill_null(pl.lit([]))
    empty = stripped(column.cast(pl.String)).fill_null("").is_in(MISSING)
    return pl.when(empty).then(pl.lit([], pl.List(pl.String))).otherwise(read)


def _facts(
    table: Table, columns: Columns, source: pl.LazyFrame, values: dict[str, pl.Expr]
) -> dict[str, Any]:
    """What one pass over the file tells: also the first bad values, and the range of the times."""
    named = columns.named()
    blank = pl.all_horizontal(pl.col(name).is_null() for name in named.values())
    faults = {role: value.is_null() for role, value in values.items()}
    more = [
        pl.col(named[role])
        .filter(fault & ~blank if table.is_text else fault)
        .first()
        .alias(f"{role}_value")
        for role, fault in faults.items()
    ]
    if "time" in values:
        more += [values["time"].min().alias("time_min"), values["time"].max().alias("time_max")]
    return scanned(table, source, blank, faults, *more)


def _faults(table: Table, columns: Columns, facts: dict[str, Any]) -> Iterator[str]:
    if table.is_text and facts["blank"]:
        yield f"{table.where(facts['blank_row'])} is blank: remove it, or say data.invalid=drop."
    for role, name in columns.named().items():
        count, row = facts[role], facts[f"{role}_row"]
        if not count:
            continue
        more = f" ({count:,} such rows)" if count > 1 else ""
        value = facts[f"{role}_value"]
        shown = str(value)[:_SHOWN]
        empty = value is None or not shown.strip()
        where, what = table.where(row), f"{role} id" if role in _IDS else role
        if empty and (cell := _unread(table, name, row)):
            yield (
                f"{where}: '{cell[:_SHOWN]}' in column '{name}' is a list that is cut off, or in a "
                f"form that is not read{more}. Write it whole, [5, 7]."
            )
        elif empty:
            yield f"{where}: the {what} in column '{name}' is empty{more}."
        elif role in _IDS and str(value).strip(AROUND) == name:
            yield f"{where} repeats the header{more}: remove it, or say data.invalid=drop."
        elif role in _IDS:
            yield f"{where}: '{shown}' in column '{name}' stands for no {what}{more}.{_lost(value)}"
        elif role == "history":
            yield f"{where}: '{shown}' in column '{name}' is no whole list{more}. Write [5, 7]."
        elif role == "time":
            hint = times.remedy(value, columns.times)
            yield f"{where}: '{shown}' in column '{name}' is no time{more}.{hint}"
        else:
            hint = numbers.remedy(value, table.dialect.decimal)
            yield f"{where}: '{shown}' in column '{name}' is no number{more}.{hint}"


def _unread(table: Table, name: str, row: int) -> str:
    """The cell of a column of lists where it is no list; else nothing."""
    if table.dialect.form != "lists" or table.schema[name] != pl.String:
        return ""
    cell = table.frame.select(name).slice(row, 1).filter(unreadable(pl.col(name)))
    found = table.collect(cell).to_series()
    return str(found[0]) if len(found) else ""


def _lost(value: Any) -> str:
    text = str(value).lower()
    if text == "nan" or not (isinstance(value, float) or ("." in text and "e+" in text)):
        return ""
    return " As a float several ids would be one: write them as whole numbers, or as text."


def _typed(
    source: pl.LazyFrame, values: dict[str, pl.Expr], scale: float, features: tuple[str, ...]
) -> pl.LazyFrame:
    user = values["user"]
    if "session" in values:
        # A slash within an id is doubled, so that no two sessions have one name.
        both = (
            values[role].str.replace_all("/", "//", literal=True) for role in ("user", "session")
        )
        user = pl.concat_str(both, separator=" / ")
    typed = [user.alias("user"), values["item"].alias("item")]
    if "time" in values:
        typed += [
            seconds(values["time"], scale).alias("timestamp"),
            microseconds(values["time"], scale).alias("fraction"),
            values["time"].alias(_MOMENT),
        ]
    if "history" in values:
        known = values["history"].list.eval(ids(pl.element(), pl.String()))
        typed.append(known.alias("history"))
    if "rating" in values:
        typed.append(values["rating"].cast(pl.Float32).alias("rating"))
    return source.select(*typed, *features)
