"""What rules are given: lists of ids, moments, and small tables, from Python or from files."""

import csv
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.dates import both_readings, day_and_month, slashed
from lightning_rec.data.names import lacking
from lightning_rec.data.tabular import open_table
from lightning_rec.data.times import TimeForm, divisor, read_times
from lightning_rec.errors import UserError

Moment = str | int | float | datetime.datetime | datetime.date
WRITTEN = "2026-11-28, or 2026-11-28 18:00, or seconds since 1970"
TABLES = (".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".txt", ".arrow")


def words(text: str) -> list[str]:
    """The parts of ``a,b,c`` or ``[a,b,c]``; one with a comma stands in double quotes."""
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    found = next(csv.reader([inside.replace("\n", " ")], skipinitialspace=True), [])
    return [each.strip().strip("'") for each in found if each.strip()]


def pairs(name: str, value: str) -> dict[str, str | None]:
    """Columns and values of ``{hour: 12, device: mobile}``; a value with a comma in double quotes.

    Values are texts, as in a CSV file; ``null`` is empty. Raises UserError for anything else.
    """
    inside = value.strip()
    if inside.startswith("{") and inside.endswith("}"):
        inside = inside[1:-1]
    found = dict[str, str | None]()
    for each in words(inside):
        column, colon, own = each.partition(":")
        column, own = column.strip(), own.strip().strip("'\"")
        if not colon or not column:
            raise UserError(f"{name}={value}: say for instance {name}='{{hour: 12, city: Rome}}'.")
        if column in found:
            raise UserError(f"{name}={value}: '{column}' is said twice.")
        found[column] = None if own == "null" else own
    return found


def looks_like_file(text: str) -> bool:
    """Whether a word names a file, by its ending, or because there is one."""
    return (
        "," not in text
        and not text.startswith("[")
        and (text.lower().endswith(TABLES) or Path(text).is_file())
    )


def ids_of_file(name: str, path: Path, column: str = "item") -> pl.Series:
    """Ids of a file: one each line of a ``.txt``, else the column ``item`` of a table.

    Raises UserError if it is missing, or has no such column.
    """
    if path.suffix.lower() == ".txt" and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise UserError(f"{name}={path} is no UTF-8 text.") from None
        return pl.Series(column, [line for line in map(str.strip, lines) if line], dtype=pl.String)
    return table(path, column).get_column(column)


def table(path: Path, *required: str) -> pl.DataFrame:
    """A whole small table. Raises UserError if it is missing, none, or lacks a column."""
    opened = open_table(path)
    if missing := [name for name in required if name not in opened.schema]:
        raise UserError(lacking(path, missing[0], opened.schema))
    return opened.collect(opened.frame)


def rows_of(name: str, given: Any) -> pl.DataFrame:
    """A table from a path, a frame, a mapping of columns, or a list of mappings."""
    if isinstance(given, str | Path):
        return table(Path(given))
    if isinstance(given, pl.DataFrame):
        return given
    if hasattr(given, "columns"):
        return pl.DataFrame({str(each): list(given[each]) for each in given.columns}, strict=False)
    try:
        if isinstance(given, Mapping):
            return pl.DataFrame(dict(given), strict=False)
        if isinstance(given, Sequence) and all(isinstance(each, Mapping) for each in given):
            rows = [dict(each) for each in given]
            return pl.from_dicts(rows, infer_schema_length=None) if rows else pl.DataFrame()
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise UserError(f"{name}: {str(error).splitlines()[0]}.") from error
    raise UserError(f"{name}: a path, a frame or a list of rows is taken, no {given!r}.")


def moments(name: str, column: pl.Series) -> pl.Series:
    """Seconds since 1970, Float64, of dates or numbers; null where there is nothing.

    Raises UserError for what is no time, or one of two.
    """
    rows = column.alias("time").to_frame().lazy()
    return rows.select(times_of(name, rows)).collect()["time"].alias(column.name)


def times_of(name: str, rows: pl.LazyFrame) -> pl.Expr:
    """The column ``time`` of ``rows`` as :func:`moments` has it; they are read, and not kept."""
    kind = rows.collect_schema()["time"]
    given = pl.col("time")
    if kind == pl.String:
        given = given.str.strip_chars().replace("", None)
    times = rows.select(given)
    # Whole passes that add up, but for the first rows: one that ends early reads far ahead.
    first = times.head(1000).collect()["time"].drop_nulls()
    if kind != pl.Null and not len(first):
        first = times.collect(engine="streaming")["time"].drop_nulls()
    if not len(first):
        return pl.lit(None, pl.Float64).alias("time")
    shown = str(first[0]) if kind == pl.String else None
    form = TimeForm(day_first=_day_first(name, times, shown))
    read, per_second = read_times("time", kind, shown, form, mixed=True)
    both = times.select(time="time", read=read, odd=pl.col("time").is_not_null() & read.is_null())
    made = both.select(pl.min("read").alias("low"), pl.max("read").alias("high"), pl.sum("odd"))
    low, high, number = made.collect(engine="streaming").row(0)
    if number:
        odd = both.filter("odd").head(1).collect(engine="streaming")["time"][0]
        raise UserError(f"{name}: {odd!r} is no time: write {WRITTEN}.")
    if per_second is None:
        try:
            per_second = int(divisor(float(low), float(high), "auto"))
        except ValueError as error:
            why = str(error).partition(": ")[0]  # what is to be done of a log has no key here
            raise UserError(f"{name} {why}: write {WRITTEN}.") from None
    return (read.cast(pl.Float64) / per_second).alias("time")


def _day_first(name: str, times: pl.LazyFrame, first: str | None) -> bool | None:
    """Whether the day comes first in dates like 5/31/2024, as their rows tell, as of a log.

    Raises UserError where they do not.
    """
    if (sign := slashed(first)) is None or first is None:
        return None
    left, right, unlike = times.select(day_and_month("time", first)).collect().row(0)
    if left <= 12 and right <= 12 and sign != "." and unlike is not None:
        day, month = both_readings(unlike)
        raise UserError(f"{name}: {unlike!r} can be {day} or {month}: write it as one of these.")
    return bool(left > 12 or right <= 12)


def moment(name: str, given: Moment | None) -> float:
    """Seconds since 1970 of one moment; of now, if None. Raises UserError if it is none."""
    if given is None:
        return datetime.datetime.now(datetime.UTC).timestamp()
    if isinstance(given, bool) or not isinstance(given, str | int | float | datetime.date):
        raise UserError(f"{name}={given!r} is no time: write {WRITTEN}.")
    if isinstance(given, datetime.datetime) and given.tzinfo is not None:
        return given.timestamp()
    found = moments(f"{name}={given}", pl.Series("time", [given]))[0]
    if found is None:
        raise UserError(f"{name}={given!r} is no time: write {WRITTEN}.")
    return float(found)


def shown(seconds: float) -> str:
    """A moment in seconds since 1970 as a date with its time, in UTC."""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):  # where no calendar reaches
        return f"{seconds:g}"
    return moment.strftime("%Y-%m-%d %H:%M UTC")
