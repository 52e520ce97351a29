"""Times in whatever form a log has them, read to their full precision. Without a zone it is UTC."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import polars as pl

from lightning_rec.data import dates
from lightning_rec.data.ids import EXACT, as_text, stripped
from lightning_rec.errors import UserError

TimeUnit = Literal["auto", "s", "ms", "us", "ns", "excel"]
TIME_FORMS = (
    "seconds, milli-, micro- or nanoseconds since 1970 with all their digits (no 1.7e+09, no "
    f"32-bit floats), {dates.DATE_FORMS}, or what data.time_format says, as strptime has it"
)

# 1.700e+09 is half an hour wide: most events of a user would have one time.
_ROUNDED = r"^[+-]?\d(?:\.\d{0,6})?[eE]\+?(?:0?[89]|1\d)$"
# As seconds 1e11 is the year 5138, as milliseconds 1973: no log of clicks mixes them up there.
_LEAST = {"ns": 1e17, "us": 1e14, "ms": 1e11, "s": 0.0}
# Dates written as numbers: what they would be as seconds or milliseconds, no log has.
_WRITTEN = {
    "%Y%j": (1_900_001, 2_100_366),
    "%Y%m%d": (19_000_101, 21_001_231),
    "%Y%m%d%H%M": (190_001_010_000, 210_012_312_359),
    "%Y%m%d%H%M%S": (19e12, 21_001_231_235_959),
}
_DIGITS = r"^\PL*\d\PL*$|\d.*\d.*\d"  # a number, or what may be a date
_EXAMPLES = ("2024-05-31", "31 May 2024", "31/5/2024", "31.5.2024", "31-5-2024")
_YEARS = (1900, 2100)
_SERIAL = (35_000, 55_000)  # 1995 to 2050 in the days of a spreadsheet
_EPOCH = 25_569  # the day of 1970 among them


@dataclass(frozen=True)
class TimeForm:
    """What cannot always be told from the times themselves.

    Args:
        unit: of numbers; ``auto`` tells it from their size. ``excel``: days since 1900, as
            spreadsheets count them.
        format: of text, as ``strptime`` has it: ``%d %b %Y %H:%M``; None knows the usual ones.
        day_first: whether 5/6/2024 is in June; None tells it from the other rows.

    Raises UserError if the format has ``%Z``, which would be passed over.
    """

    unit: TimeUnit = "auto"
    format: str | None = None
    day_first: bool | None = None

    def __post_init__(self) -> None:
        if self.format is not None and "%Z" in self.format:
            raise UserError(
                f"data.time_format={self.format}: %Z is not read, as EST is the name of several "
                "zones. Write times with an offset (-05:00, %z), or in UTC without a zone."
            )


class WrittenDates(ValueError):
    """Numbers seem to be dates, of this ``format``."""

    def __init__(self, message: str, format: str) -> None:
        super().__init__(message)
        self.format = format


class Reading(NamedTuple):
    """How a column is read: Int64 or Float64, null for no time, and its unit, if known."""

    value: pl.Expr
    per_second: int | None


def read_times(
    name: str, dtype: pl.DataType, first: str | None, form: TimeForm, mixed: bool = False
) -> Reading:
    """How column ``name`` is to be read: as numbers or dates, whichever its ``first`` value is.
    ``mixed`` reads every form of these, not only that of the first value, in three times as long.
    """
    column = pl.col(name)
    if form.format is not None:
        text = stripped(as_text(column, dtype))
        return Reading(dates.parsed(text, form.format, "us"), dates.PER_SECOND["us"])
    if dtype.is_temporal():
        finest = isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
        unit: dates.Precision = "ns" if finest else "us"
        moment = column.cast(pl.Datetime(unit)).dt.timestamp(unit)
        return Reading(moment, dates.PER_SECOND[unit])
    if is_dates(dtype, first):
        value, unit = dates.read_dates(column, first, form.day_first, mixed)
        return Reading(value, dates.PER_SECOND[unit])
    whole = dtype.is_integer() or (dtype == pl.String and not mixed and _reads(int, first))
    number = stripped(column) if dtype == pl.String else column
    if dtype == pl.String:
        number = pl.when(number.str.contains(_ROUNDED).not_()).then(number)
    elif dtype == pl.Float32:
        number = pl.when(number.abs() < EXACT[dtype]).then(number)
    read = number.cast(pl.Int64 if whole else pl.Float64, strict=False)
    if form.unit == "excel":
        moment = ((read - _EPOCH) * (86_400 * dates.PER_SECOND["ms"])).round()
        return Reading(moment.cast(pl.Int64, strict=False), dates.PER_SECOND["ms"])
    return Reading(read if whole else pl.when(read.is_finite()).then(read), None)


def raw_time(name: str, dtype: pl.DataType, first: str | None, day_first: bool = False) -> pl.Expr:
    """Column ``name`` as Float64: numbers as they are, dates as seconds, what is neither null."""
    value, per_second = read_times(name, dtype, first, TimeForm(day_first=day_first))
    return value / per_second if per_second else value.cast(pl.Float64)


def is_dates(dtype: pl.DataType, first: str | None) -> bool:
    """Whether the column holds dates as text."""
    return dtype == pl.String and not _reads(float, first)


def is_time(text: pl.Series) -> pl.Series:
    """Which texts are a time in some form, Boolean: of single events, whose log is not known."""
    left = text.rename("text").unique().to_frame().filter(pl.col("text").str.contains(_DIGITS))
    found = [left.clear()]

    def read(first: str, mixed: bool, day_first: bool | None = None) -> None:
        nonlocal left
        form = TimeForm(day_first=day_first)
        value = read_times("text", pl.String(), first, form, mixed).value
        found.append(left.filter(value.is_not_null()))
        left = left.filter(value.is_null())

    read("0.5", False)
    for day_first in (True, False):  # as a log is read, whose dates are of one form
        if len(left):
            read(left["text"][0], False, day_first)
    for first in _EXAMPLES if len(left) else ():
        for day_first in (True, False):
            read(first, True, day_first)
    return text.is_in(pl.concat(found)["text"].implode()).fill_null(False)


def remedy(value: object, form: TimeForm | None = None) -> str:
    """What to do about a value that is no time, with a blank before it."""
    if form is not None and form.format is not None:
        return f" It is to be one of data.time_format={form.format}."
    return dates.date_remedy(str(value)) or f" Times are {TIME_FORMS}; one kind per column."


def divisor(least: float, most: float, unit: TimeUnit) -> float:
    """What to divide epoch times between ``least`` and ``most`` by to get seconds. Raises
    ValueError, with the rest of a sentence about the column, if the unit is unclear.
    """
    if unit != "auto":
        return float(dates.PER_SECOND[unit])
    if _YEARS[0] <= least and most <= _YEARS[1]:
        raise ValueError(
            f"looks like years ({most:.0f}), which say nothing of the order within one: say "
            "data.time_unit=s to go by them all the same"
        )
    if _SERIAL[0] <= least and most <= _SERIAL[1]:
        raise ValueError(
            f"looks like days since 1900 as spreadsheets count them ({most:g}): say "
            "data.time_unit=excel (or data.time_unit=s)"
        )
    for form, (first, last) in _WRITTEN.items():
        if first <= least and most <= last:
            raise WrittenDates(
                f"looks like dates written as numbers ({most:.0f}): say data.time_format={form} "
                "(or data.time_unit=s)",
                form,
            )
    most, least = max(abs(least), abs(most)), min(abs(least), abs(most))
    told = [next(unit for unit, bound in _LEAST.items() if size >= bound) for size in (least, most)]
    if told[0] != told[1]:
        raise ValueError(
            f"is {least:.0f} in one row and {most:.0f} in another, {told[0]} in one and {told[1]} "
            "in the other by their size: mend the file, or say data.time_unit=s, ms, us or ns"
        )
    return float(dates.PER_SECOND[told[0]])


def seconds(value: pl.Expr, per_second: float) -> pl.Expr:
    """Int64 seconds of what :func:`read_times` gave, fractions cut off downwards."""
    return value.floordiv(int(per_second)).cast(pl.Int64)


def microseconds(value: pl.Expr, per_second: float) -> pl.Expr:
    """Int32 microseconds that :func:`seconds` cuts off."""
    rest = value - value.floordiv(int(per_second)) * int(per_second)
    # A float is the decimal that it stands for, and never the next second.
    return (rest * (10**6 / per_second)).round().clip(0, 10**6 - 1).cast(pl.Int32)


def _reads(kind: type[float | int], text: str | None) -> bool:
    try:
        kind(text or "")
    except ValueError:
        return False
    return True
