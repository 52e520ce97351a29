"""Times in whatever form a log has them, as seconds since 1970. A time without a zone is UTC."""

from typing import Literal

import polars as pl

TimeUnit = Literal["auto", "s", "ms"]
TIME_FORMS = "seconds or milliseconds since 1970, or ISO dates like 2024-05-31 or 2024-05-31T17:00Z"

# As seconds 1e11 is the year 5138, as milliseconds 1973: no log of clicks mixes them up there.
_LEAST_MS = 1e11
_LEAST_US = 1e14
_NAIVE = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_ZONED = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")


def raw_time(name: str, dtype: pl.DataType, first: str | None, mixed: bool = False) -> pl.Expr:
    """Column ``name`` as Float64: numbers as they are, dates as seconds; what is neither is null.

    Args:
        name: the column.
        dtype: its type; text is numbers or ISO dates, whichever its first value is.
        first: first value of a text column.
        mixed: read every form of ISO date, not only that of the first value. Takes three times as
            long, so it is for columns in which that one does not do.
    """
    column = pl.col(name)
    if dtype.is_temporal():
        return column.cast(pl.Datetime("ms")).dt.timestamp("ms") / 1000
    if is_dates(dtype, first):
        forms, text = [*_NAIVE, *_ZONED], pl.lit(first, pl.String)
        same = [form for form in forms if pl.select(_iso(text, form)).item() is not None]
        chosen = forms if mixed or not same else same
        return pl.coalesce(_iso(column, form) for form in chosen)
    return _finite(column.cast(pl.Float64, strict=False))


def is_dates(dtype: pl.DataType, first: str | None) -> bool:
    """Whether the column holds dates as text."""
    return dtype == pl.String and not _is_number(first)


def is_epoch(dtype: pl.DataType, first: str | None) -> bool:
    """Whether the column holds numbers, whose unit has to be told."""
    return dtype.is_numeric() or (dtype == pl.String and _is_number(first))


def divisor(least: float, most: float, unit: TimeUnit) -> float:
    """What to divide epoch times between ``least`` and ``most`` by to get seconds.

    Raises ValueError, with the rest of a sentence about the column, if the unit is unclear.
    """
    if unit != "auto":
        return {"s": 1.0, "ms": 1000.0}[unit]
    most, least = max(abs(least), abs(most)), min(abs(least), abs(most))
    if most >= _LEAST_US:
        raise ValueError(f"looks like micro- or nanoseconds ({most:.0f}): divide it first")
    if most < _LEAST_MS:
        return 1.0
    if least < _LEAST_MS:
        raise ValueError(
            f"is {least:.0f} in one row and {most:.0f} in another, seconds in one and "
            "milliseconds in the other: mend the file, or say time_unit=s or ms"
        )
    return 1000.0


def seconds(raw: pl.Expr, divide_by: float) -> pl.Expr:
    """Int64 seconds of what :func:`raw_time` gave, fractions cut off downwards."""
    return (raw / divide_by).floor().cast(pl.Int64)


def _finite(column: pl.Expr) -> pl.Expr:
    return pl.when(column.is_finite()).then(column)


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def _iso(column: pl.Expr, form: str) -> pl.Expr:
    """Seconds since 1970 of the texts that have this form, else null."""
    text = column.str.strip_chars().str.replace("T", " ", literal=True)
    if form in _NAIVE:
        time = text.str.to_datetime(form, time_unit="ms", strict=False)
    else:
        text = text.str.replace("Z", "+00:00", literal=True)
        time = text.str.to_datetime(form, time_unit="ms", strict=False).dt.replace_time_zone(None)
    return time.dt.timestamp("ms") / 1000
