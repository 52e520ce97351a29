"""Dates as text, in whatever way programs and people write them. Without a zone it is UTC."""

import re
from collections.abc import Iterator
from typing import Literal

import polars as pl

from lightning_rec.data.ids import stripped
from lightning_rec.errors import UserError

Precision = Literal["us", "ns"]
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
DATE_FORMS = (
    "dates like 2024-05-31, 2024-05-31T17:00Z, 5/31/2024 5:00 pm, 31-May-24 (months in English) or "
    "2024-W22-5"
)

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_HOURS = (
    "", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S%.f %p", " %H", " %I %p",
    " %H:%M:%S%.f%z", " %H:%M%z",
)  # fmt: skip
_MONTH = (
    r"(?i)\b(?:(jan)(?:uary)?|(feb)(?:ruary)?|(mar)(?:ch)?|(apr)(?:il)?|(may)|(jun)e?|(jul)y?"
    r"|(aug)(?:ust)?|(sep)(?:t(?:ember)?)?|(oct)(?:ober)?|(nov)(?:ember)?|(dec)(?:ember)?)\b\.?"
)
_MONTHS = "".join(f"${{{number}}}" for number in range(1, 13))  # the one that was found
# By the sign of the first value. A year of two digits before one of four: 10 is none of the Romans.
_DATES = {
    "iso": ("%Y-%m-%d", "%G-W%V-%u", "%Y-%j"),
    "named": (
        "%d-%b-%y", "%d-%b-%Y", "%d %b %y", "%d %b %Y", "%d/%b/%Y", "%b-%d-%Y", "%b %d %Y",
        "%Y-%b-%d",
    ),
}  # fmt: skip
_TWITTER = ("%b %d %H:%M:%S %z %Y", "%b %d %H:%M:%S %Y")
_GUARDS = {
    "%j": r"^\d{4}-\d{3}(?:\D|$)",  # 2019-10 is a month, no tenth day
    "%y": r"^\d{1,2}[^\d\s]\S*?[/.-]\d\d(?:\s|$)|^\d{1,2} \p{L}{3} \d\d(?:\s|$)",  # no 20 of 2019
}
_FIRST_YEAR = 1000
_ZONE = r":\d\d\S*\s*\[?(?:[A-Z]{3,5}(?:\d[A-Z]*)?|[A-Z]\w+/[\w/]+)\b"  # EST, Europe/Paris
_SLASHED = r"^(\d{1,2})([/.-])(\d{1,2})[/.-](\d{4}|\d{2})(?:\D|$)"
# (pattern, replacement): other ways to write the same moment, one after another.
_SPELLINGS = (
    (r"(?i)^(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?\s+", ""),
    (r"^(\d{1,2})(\p{L}{3,9})(\d{4}|\d{2})", "${1} ${2} ${3}"),
    (r"\b(\d{1,2})(?:st|nd|rd|th)\b", "${1}"),
    (_MONTH, _MONTHS),
    # What names a zone says nothing where an offset stands before it.
    (r"(:\d\d\S*\s*(?:GMT|UTC)?[+-]\d\d:?\d\d)\s*(?:\([^)]*\)|[A-Z]{3,5})$", "${1}"),
    (r"(:\d\d\S*(?:[+-]\d\d:?\d\d|Z))\[[\w/+-]+\]$", "${1}"),
    (r"\[UTC\]$", ""),
    (r"(?:GMT|UTC)([+-]\d\d:?\d\d)", "${1}"),
    (r"\s(?:UTC|GMT)\s(\d{4})$", " ${1}"),
    (r"(?i)\s*(?:utc|gmt|ut|z)$", ""),
    (r"(\d)[Tt](\d)", "${1} ${2}"),
    (r",\s+", " "),
    (r"^(\d{4})[/.](\d{1,2})[/.]", "${1}-${2}-"),
    (r"^(\d{4})年(\d{1,2})月(\d{1,2})日", "${1}-${2}-${3}"),
    (r"^(\d{4})(\d\d)(\d\d) (\d\d)(\d\d)", "${1}-${2}-${3} ${4}:${5}"),
    (r"^(\d{4}-\d\d-\d\d \d\d:\d\d)(\d\d)", "${1}:${2}"),
    (r"^(\d{4}-\d\d-\d\d)[- ](\d\d)\.(\d\d)\.(\d\d)", "${1} ${2}:${3}:${4}"),
    (r"^(\d{4})-?W(\d\d)-?(\d)\b", "${1}-W${2}-${3}"),
    (r"^(\d{1,2}) (\d{1,2}) (\d{4})\b", "${1}/${2}/${3}"),
    (r"^(\d{1,2}[ /]\p{L}{3}[ /]\d{4}):(\d\d:)", "${1} ${2}"),
    (r"(:\d\d:\d\d):(\d{3}|\d{6}|\d{9})\b", "${1}.${2}"),
    (r"(:\d\d),(\d+)", "${1}.${2}"),
    (r"(?i)(\d)\s*([ap])\.?\s?m\b\.?", "${1} ${2}m"),
    (r"(:\d\d(?:\.\d+)?)\s*([+-]\d\d)$", "${1}${2}:00"),
)


def read_dates(
    column: pl.Expr, first: str | None, day_first: bool | None, mixed: bool
) -> tuple[pl.Expr, Precision]:
    """Int64 micro- or nanoseconds since 1970 of text, null for what is no date, and which of them.
    All have the form of the ``first`` value, unless ``mixed``.
    """
    text, forms = _written(column, first, mixed), [*_forms(first, day_first)]
    example = pl.lit(_spelt(first), pl.String)
    fitting = (form for form in forms if pl.select(parsed(example, form, "us")).item() is not None)
    chosen = (not mixed and list(fitting)) or forms
    unit: Precision = "ns" if re.search(r":\d\d[.,:]\d{7}", first or "") else "us"
    return pl.coalesce(parsed(text, each, unit) for each in chosen), unit


def slashed(first: str | None) -> str | None:
    """The separator of dates like 5/31/2024, if the first value is one."""
    found = re.match(_SLASHED, _spelt(first) or "")
    return found and found[2]


def day_and_month(name: str, first: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Of dates like 5/31/2024 the largest first, the largest second number, and one they part."""
    text = _written(pl.col(name), first, False)
    left, right = (text.str.extract(_SLASHED, place).cast(pl.Int64) for place in (1, 3))
    unlike = text.filter(left != right).first()
    return left.max().alias("left"), right.max().alias("right"), unlike.alias("unlike")


def both_readings(first: str) -> tuple[str, str]:
    """A date like 5/6/2024 as ISO dates: with the day first, and with the month first."""
    text = _written(pl.lit(first, pl.String), first, True)
    day, month = (
        pl.from_epoch(pl.coalesce(parsed(text, form, "us") for form in _forms(first, way)), "us")
        for way in (True, False)
    )
    return str(pl.select(day.dt.date()).item()), str(pl.select(month.dt.date()).item())


def parsed(text: pl.Expr, form: str, unit: Precision) -> pl.Expr:
    """Int64 micro- or nanoseconds since 1970 of the texts that have this form, else null."""
    for directive, pattern in _GUARDS.items():
        if directive in form:
            text = pl.when(text.str.contains(pattern)).then(text)
    if re.search("%[HI]", form) and "%M" not in form:  # Polars reads no hours without minutes
        text, form = text + " 00", f"{form} %M"
    time = text.str.to_datetime(form, time_unit=unit, strict=False)
    if "%z" in form:
        time = time.dt.replace_time_zone(None)
    if "%Y" in form and not form.startswith("%Y"):
        time = pl.when(time.dt.year() >= _FIRST_YEAR).then(time)
    return time.dt.timestamp(unit)


def date_remedy(value: str) -> str | None:
    """What to do about a text that is no date, where that is known."""
    if re.search(_ZONE, value):
        return (
            " Names of time zones are not read, as EST is the name of several: write an offset "
            "(-05:00), or UTC."
        )
    if re.search(r":\d\d:\d\d:\d{1,2}$", value):
        return " What stands behind the seconds may be a fraction or a count: write 10:05:30.50."
    return None


def _forms(first: str | None, day_first: bool | None) -> Iterator[str]:
    """The forms of date that a column may have that begins with this value."""
    sign = slashed(first)
    if sign is not None:
        order = ("%d", "%m") if day_first else ("%m", "%d")
        dates = tuple(sign.join((*order, year)) for year in ("%y", "%Y"))
    else:
        months = re.search(_MONTH, _spelt(first) or "")
        yield from _TWITTER if months else ()
        dates = _DATES["named" if months else "iso"]
    yield from (date + hours for date in dates for hours in _HOURS)


def _spelt(first: str | None) -> str | None:
    """A value in the spelling that forms have."""
    return pl.select(_written(pl.lit(first, pl.String), first, True)).item()


def _written(text: pl.Expr, first: str | None, mixed: bool) -> pl.Expr:
    """Text in the spelling that forms have; only what the first value needs, unless ``mixed``."""
    text, example = stripped(text), stripped(pl.lit(first, pl.String))
    for pattern, replacement in _SPELLINGS:
        changed = example.str.replace(pattern, replacement)
        if mixed or pl.select(changed != example).item():
            text = text.str.replace(pattern, replacement)
        example = changed
    return text


def duration(key: str, said: float | str, *, bare: bool = False) -> float:
    """Seconds of a number with a unit, such as ``30m`` or ``7d``, or of a ``bare`` one.

    Raises UserError, naming the ``key``, for anything else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(s|m|min|h|d|w)?", str(said).strip().lower())
    seconds = float(found[1]) * _SECONDS[found[2] or "s"] if found else 0.0
    if not found or seconds <= 0 or not (found[2] or bare):
        also = "seconds, above 0, or " if bare else ""
        raise UserError(
            f"{key}={said}: say {also}a number with a unit, such as 30m, 12h, 7d or 2w."
        )
    return seconds
