"""The rows of a log as events: which columns hold what, lists exploded, how times are written."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from lightning_rec.data.dates import both_readings, day_and_month, slashed
from lightning_rec.data.ids import stripped
from lightning_rec.data.kinds import Kept, holds
from lightning_rec.data.lists import is_list, lists
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import Reading, TimeForm, read_times
from lightning_rec.errors import listed

ROW = "__row"  # the number of an event's row in the file
LISTED = ("item", "time", "rating")  # roles that may hold lists


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; user and session together make a user. ``features`` say
    something of an event, whatever it is.
    """

    user: str
    item: str
    time: str | None = None
    rating: str | None = None
    times: TimeForm = field(default_factory=TimeForm)
    session: str | None = None
    history: str | None = None
    kept: Kept = ()
    features: tuple[str, ...] = ()

    def named(self) -> dict[str, str]:
        """Role and column, for the roles that have one."""
        roles = ("user", "item", "session", "time", "rating", "history")
        return {role: name for role in roles if (name := getattr(self, role)) is not None}


def events(table: Table, columns: Columns) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """Rows with their number and the columns in use, lists exploded; and the columns' types.

    Raises ValueError, with a sentence, if lists of one row are not equally long.
    """
    names = list(dict.fromkeys(columns.named().values()))
    types = {name: table.schema[name] for name in names}
    source = table.frame.with_row_index(ROW)
    if columns.kept:
        source = source.filter(holds(table, columns.kept))
    if table.dialect.form == "rows":
        return source, types
    first = table.collect(table.frame.select(names).drop_nulls().head(1))
    exploded = {column for role, column in columns.named().items() if role in LISTED}
    lists_in = {name for name in exploded if first.height and is_list(first[name].item())}
    lists_in |= {name for name in names if isinstance(types[name], pl.List | pl.Array)}
    many = [name for name in names if name == columns.item or name in lists_in]
    source = source.select(ROW, *names).with_columns(
        lists(pl.col(name), types[name]).alias(name) for name in many
    )
    lengths = [pl.col(name).list.len() for name in many]
    uneven = pl.any_horizontal(each.ne_missing(lengths[0]) for each in lengths)
    row = table.collect(source.select(pl.col(ROW).filter(uneven).min())).item()
    if row is not None:
        raise ValueError(f"{table.where(row)}: the lists of {listed(many)} are not equally long.")
    # No list is a fault, an empty one is none.
    source = source.filter(lengths[0].fill_null(1) > 0)
    return source.explode(many), types | dict.fromkeys(many, pl.String())


def scanned(
    table: Table,
    rows: pl.LazyFrame,
    blank: pl.Expr,
    faults: Mapping[str, pl.Expr],
    *more: pl.Expr,
) -> dict[str, Any]:
    """What one pass over rows with their number (``ROW``) tells: ``rows``, the ``last`` that is not
    ``blank``, what ``more`` asks, and the count of each fault, of ``bad`` (any) and ``blank`` rows,
    with the first row, ``NAME_row``. Blank lines of a text have no other fault, and at its end are
    no rows.
    """
    row, last = pl.col(ROW), pl.col(ROW).filter(~blank).max().fill_null(-1)
    asked = [pl.len().alias("rows"), row.max().alias("end"), last.alias("last"), *more]
    if table.is_text:
        faults = {name: fault & ~blank for name, fault in faults.items()}
    faults = {**faults, "bad": pl.any_horizontal(*faults.values()), "blank": blank}
    for name, fault in faults.items():
        asked += [fault.sum().alias(name), row.filter(fault).min().alias(f"{name}_row")]
    found = table.collect(rows.select(asked)).row(0, named=True)
    if table.is_text and found["rows"]:
        after = found["end"] - found["last"]
        found["rows"] -= after
        found["blank"] -= after
        found["bad"] += found["blank"]
    return found


def time_reading(
    table: Table,
    source: pl.LazyFrame,
    name: str,
    form: TimeForm,
    facts: Callable[[Reading], dict[str, Any]],
) -> tuple[Reading, dict[str, Any]]:
    """How a column of times is to be read, and what ``facts``, a pass over the file, tells of that,
    such as how many rows have no ``time``: in the form of the first value, or in every form where
    that leaves fewer faults. Raises ValueError, with a sentence, if times can be read in two ways.
    """
    dtype = source.collect_schema()[name]
    first = None
    if dtype == pl.String:
        time = stripped(pl.col(name))
        head = table.collect(source.select(time).filter(time.str.len_chars() > 0).head(1))
        first = str(head.item()) if head.height else None
    form = with_day(table, source, name, first, form)
    reading = read_times(name, dtype, first, form)
    found = facts(reading)
    if dtype == pl.String and found["time"]:
        mixed = read_times(name, dtype, first, form, mixed=True)
        again = facts(mixed)
        if again["time"] < found["time"]:
            return mixed, again
    return reading, found


def with_day(
    table: Table, source: pl.LazyFrame, name: str, first: str | None, form: TimeForm
) -> TimeForm:
    """Tell from all rows whether the day comes first in dates like 5/31/2024. Raises ValueError."""
    sign = slashed(first)
    if form.day_first is not None or form.format is not None or sign is None or first is None:
        return form
    if sign == "-" and re.match(r"\d+-\d+-\d\d(?!\d)", first):
        raise ValueError(
            f"{table.path}: column '{name}' has dates like '{first}', which may begin with the "
            "year: say data.time_format=%y-%m-%d for that, or data.day_first=true or false."
        )
    left, right, unlike = table.collect(source.select(day_and_month(name, first))).row(0)
    if left <= 12 and right <= 12 and sign != "." and unlike is not None:
        day, month = both_readings(unlike)
        raise ValueError(
            f"{table.path}: column '{name}' has dates like '{unlike}', which can be {day} or "
            f"{month}: say data.day_first=true for the one or data.day_first=false for the other."
        )
    return replace(form, day_first=left > 12 or right <= 12)
