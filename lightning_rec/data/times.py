"""Times in whatever form a log has them, read to their full precision. Without a zone it is UTC."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import polars as pl

from lightning_rec.data.ids import EXACT, as_text
from lightning_rec.errors import UserError

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
Precision = Literal["us", "ns"]
TIME_FORMS = (
    "seconds, milli-, micro- or nanoseconds since 1970 with all their digits (no 1.7e+09, no "
    "32-bit floats), dates like 2024-05-31, 2024-05-31T17:00Z, 5/31/2024 17:00 or 31-May-24, or "
    "what data.time_format says, as strptime has it"
)

# 1.700e+09 is half an hour wide: most events of a user would have one time.
_ROUNDED = r"^[+-]?\d(?:\.\d{0,6})?[eE]\+?(?:0?[89]|1\d)$"
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# As seconds 1e11 is the year 5138, as milliseconds 1973: no log of clicks mixes them up there.
_LEAST = {"ns": 1e17, "us": 1e14, "ms": 1e11, "s": 0.0}
# Dates written as numbers: what they would be as seconds or milliseconds, no log has.
_WRITTEN = {
    "%Y%m%d": (19_000_101, 21_001_231),
    "%Y%m%d%H%M": (190_001_010_000, 210_012_312_359),
    "%Y%m%d%H%M%S": (19e12, 21_001_231_235_959),
}
_ISO = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y%m%d %H%M%S",
    "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z",
)  # fmt: skip
_HOURS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S%.f%z", " %H:%M%z")
_MONTH = r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
# A year of two digits before one of four: 10 is no year of the Romans.
_NAMED = (
    *(
        date + hours
        for date in ("%d-%b-%y", "%d-%b-%Y", "%d %b %y", "%d %b %Y", "%b %d %Y", "%Y-%b-%d")
        for hours in _HOURS
    ),
    "%b %d %H:%M:%S %z %Y", "%b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z",
)  # fmt: skip
_FIRST_YEAR = 1000
_ZONE = r":\d\d\S*\s+(?:[A-Z]{3,5}|[A-Z]\w+/\w+)\b"  # EST, or Europe/Paris, behind a time of day
_SLASHED = r"^(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?:\D|$)"
# (pattern, replacement): other ways to write the same moment.
_SPELLINGS = (
    (r"(?i)^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+", ""),
    (_MONTH, "${1}"),
    (r"([+-]\d\d:?\d\d)\s*\([A-Za-z ]+\)$", "${1}"),
    (r"\[UTC\]$", ""),
    (r"(?:GMT|UTC)([+-]\d\d:?\d\d)", "${1}"),
    (r"(?i)\s*(?:utc|gmt|z)$", ""),
    (r"(\d)T(\d)", "${1} ${2}"),
    (r",\s+", " "),
    (r"^(\d{4})/(\d{1,2})/", "${1}-${2}-"),
    (r"(:\d\d),(\d+)", "${1}.${2}"),
    (r"(:\d\d(?:\.\d+)?)\s*([+-]\d\d)$", "${1}${2}:00"),
)


@dataclass(frozen=True)
class TimeForm:
    """What cannot always be told from the times themselves.

    Args:
        unit: of numbers; ``auto`` tells it from their size.
        format: of text, as ``strptime`` has it: ``%d %b %Y %H:%M``; None knows the usual ones.
        day_first: whether 5/6/2024 is in June; None tells it from the other rows.

    Raises:
        UserError: if the format has ``%Z``, which would be passed over.
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
    """How a column is read: Int64 or Float64, null for what is no time, and units per second.

    per_second: None where numbers are to tell it by their size, see :func:`divisor`.
    """

    value: pl.Expr
    per_second: int | None


def read_times(
    name: str, dtype: pl.DataType, first: str | None, form: TimeForm, mixed: bool = False
) -> Reading:
    """How column ``name`` is to be read.

    Args:
        name: the column.
        dtype: its type; text is numbers or dates, whichever its first value is.
        first: first value of a text column.
        form: what the user said. ``day_first`` must be told where dates have slashes.
        mixed: read every form of date, or of number, not only that of the first value. Takes three
            times as long, so it is for columns in which that one does not do.
    """
    column = pl.col(name)
    unit: Precision = "us"
    if form.format is not None:
        return Reading(
            _parsed(as_text(column, dtype).str.strip_chars(), form.format, "us"), PER_SECOND["us"]
        )
    if dtype.is_temporal():
        unit = "ns" if isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns" else "us"
        moment = column.cast(pl.Datetime(unit)).dt.timestamp(unit)
        return Reading(moment, PER_SECOND[unit])
    if is_dates(dtype, first):
        text, forms = _written(column, first, mixed), list(_forms(first, form))
        chosen = (not mixed and [each for each in forms if _reads(first, each)]) or forms
        unit = "ns" if re.search(r":\d\d[.,]\d{7}", first or "") else "us"
        return Reading(pl.coalesce(_parsed(text, each, unit) for each in chosen), PER_SECOND[unit])
    whole = dtype.is_integer() or (dtype == pl.String and not mixed and _is_whole(first))
    number = column.str.strip_chars() if dtype == pl.String else column
    if dtype == pl.String:
        number = pl.when(number.str.contains(_ROUNDED).not_()).then(number)
    elif dtype == pl.Float32:
        number = pl.when(number.abs() < EXACT[dtype]).then(number)
    read = number.cast(pl.Int64 if whole else pl.Float64, strict=False)
    return Reading(read if whole else pl.when(read.is_finite()).then(read), None)


def raw_time(name: str, dtype: pl.DataType, first: str | None, day_first: bool = False) -> pl.Expr:
    """Column ``name`` as Float64: numbers as they are, dates as seconds, what is neither null."""
    value, per_second = read_times(name, dtype, first, TimeForm(day_first=day_first))
    return value / per_second if per_second else value.cast(pl.Float64)


def is_dates(dtype: pl.DataType, first: str | None) -> bool:
    """Whether the column holds dates as text."""
    return dtype == pl.String and not _is_number(first)


def slashed(first: str | None) -> str | None:
    """The separator of dates like 5/31/2024, if the first value is one."""
    found = pl.select(pl.lit(first, pl.String).str.extract(_SLASHED, 2)).item()
    return None if found is None else str(found)


def remedy(value: object, form: TimeForm | None = None) -> str:
    """What to do about a value that is no time, with a blank before it."""
    if form is not None and form.format is not None:
        return f" It is to be one of data.time_format={form.format}."
    if re.search(_ZONE, str(value)):
        return (
            " Names of time zones are not read, as EST is the name of several: write an offset "
            "(-05:00), or UTC."
        )
    return f" Times are {TIME_FORMS}; one kind per column."


def day_and_month(name: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Of dates like 5/31/2024 the largest first, the largest second number, and one they part."""
    text = pl.col(name).str.strip_chars()
    left, right = (text.str.extract(_SLASHED, place).cast(pl.Int64) for place in (1, 3))
    unlike = text.filter(left != right).first()
    return left.max().alias("left"), right.max().alias("right"), unlike.alias("unlike")


def both_readings(first: str) -> tuple[str, str]:
    """A date like 5/6/2024 as ISO dates: with the day first, and with the month first."""
    text = _written(pl.lit(first, pl.String), first, True)
    readings = []
    for day_first in (True, False):
        forms = _forms(first, TimeForm(day_first=day_first))
        read = pl.coalesce(_parsed(text, form, "us") for form in forms)
        readings.append(str(pl.select(pl.from_epoch(read, "us").dt.date()).item()))
    return readings[0], readings[1]


def divisor(least: float, most: float, unit: TimeUnit) -> float:
    """What to divide epoch times between ``least`` and ``most`` by to get seconds.

    Raises ValueError, with the rest of a sentence about the column, if the unit is unclear.
    """
    if unit != "auto":
        return float(PER_SECOND[unit])
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
    return float(PER_SECOND[told[0]])


def seconds(value: pl.Expr, per_second: float) -> pl.Expr:
    """Int64 seconds of what :func:`read_times` gave, fractions cut off downwards."""
    return value.floordiv(int(per_second)).cast(pl.Int64)


def microseconds(value: pl.Expr, per_second: float) -> pl.Expr:
    """Int32 microseconds that :func:`seconds` cuts off."""
    rest = value - value.floordiv(int(per_second)) * int(per_second)
    # A float is the decimal that it stands for, and never the next second.
    return (rest * (10**6 / per_second)).round().clip(0, 10**6 - 1).cast(pl.Int32)


def needed(events: pl.LazyFrame) -> pl.LazyFrame:
    """The events, without ``fraction`` (see :func:`microseconds`) where all of them are 0."""
    if "fraction" not in events.collect_schema():
        return events
    largest = events.select(pl.col("fraction").max()).collect(engine="streaming").item()
    return events if largest else events.drop("fraction")


def _forms(first: str | None, form: TimeForm) -> Iterator[str]:
    """The forms of date that a column may have that begins with this value."""
    sign = slashed(first)
    if sign is None or first is None:
        yield from _NAMED if re.search(_MONTH, first or "") else _ISO
        return
    two_digits = len(str(pl.select(pl.lit(first).str.extract(_SLASHED, 4)).item())) == 2
    order = ("%d", "%m") if form.day_first else ("%m", "%d")
    date = sign.join((*order, "%y" if two_digits else "%Y"))
    yield from (date + hours for hours in _HOURS)


def _written(text: pl.Expr, first: str | None, mixed: bool) -> pl.Expr:
    """Text in the spelling that forms have; only what the first value needs, unless ``mixed``."""
    text, example = text.str.strip_chars(), pl.lit(first, pl.String).str.strip_chars()
    for pattern, replacement in _SPELLINGS:
        changed = example.str.replace(pattern, replacement)
        if mixed or pl.select(changed != example).item():
            text = text.str.replace(pattern, replacement)
        example = changed
    return text


def _reads(first: str | None, form: str) -> bool:
    text = _written(pl.lit(first, pl.String), first, True)
    return pl.select(_parsed(text, form, "us")).item() is not None


def _parsed(text: pl.Expr, form: str, unit: Precision) -> pl.Expr:
    """Int64 micro- or nanoseconds since 1970 of the texts that have this form, else null."""
    if re.search("%[HI]", form) and "%M" not in form:  # Polars reads no hours without minutes
        text, form = text + " 00", f"{form} %M"
    time = text.str.to_datetime(form, time_unit=unit, strict=False)
    if "%z" in form:
        time = time.dt.replace_time_zone(None)
    if "%Y" in form and form not in _ISO:
        time = pl.when(time.dt.year() >= _FIRST_YEAR).then(time)
    return time.dt.timestamp(unit)


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _is_whole(text: str | None) -> bool:
    try:
        int(text or "")
    except ValueError:
        return False
    return True
