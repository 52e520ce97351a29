"""One rule of what an id is: the same in logs, catalogues, click tables, files and requests."""

import polars as pl

MISSING = (
    "", "NULL", "Null", "null", "(null)", "NaN", "nan", "NAN", "-nan", "-NaN", "NaT", "None", "NA",
    "N/A", "n/a", "<NA>", "#N/A", "#NA", "undefined", r"\N",
)  # fmt: skip
"""What stands for no id at all, as SQL, pandas, R, Hive, JavaScript and spreadsheets write it."""

_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))
_UNSEEN = (
    "\0\xad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062"
    "\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
AROUND = _BLANKS + _UNSEEN
"""What does not count around a value: blanks of any kind, and signs without a width (U+200B, marks
of direction, the mark at the beginning of a text)."""

_WHOLE = r"^(-?(?:0|[1-9][0-9]*))\.0*$"
_ROUNDED = r"^-?\d\.\d+[eE]\+\d+$"  # as a spreadsheet shows a long number
_NO_BREAK = "[\u00a0\u2007\u202f]"
EXACT: dict[pl.DataType, int] = {pl.Float32(): 2**24, pl.Float64(): 2**53}
"""Whole numbers below this are floats of their own; from here on neighbours fall together."""


def ids(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The ids of a column of any type but lists and structs, String; null where there is none.

    Blanks and signs that are not seen (``AROUND``) do not count around an id, a no-break blank
    within it is a blank, and letters are compared in Unicode's form NFC. A whole number is one id
    in whatever form it comes: ``12``, ``12.0`` and the float 12. All else is taken letter by
    letter: ``007`` is not ``7``. What is one of ``MISSING`` is no id, and neither is a number that
    has lost digits, by which several ids would be one: a float beyond ``EXACT``, or
    ``1.23457E+11``.
    """
    text = stripped(as_text(column, dtype)).str.replace_all(_NO_BREAK, " ")
    lost = text.str.contains(_ROUNDED)
    if dtype in EXACT:
        lost = column.abs() >= EXACT[dtype]
    text = text.str.replace(_WHOLE, "${1}").str.normalize("NFC")
    return pl.when(text.is_in(MISSING).not_() & lost.not_()).then(text)


def ids_of(column: pl.Series) -> pl.Series:
    """The ids of a series, String, under its name: see :func:`ids`."""
    found = column.to_frame("id").select(ids(pl.col("id"), column.dtype))
    return found.to_series().alias(column.name)


def stripped(text: pl.Expr) -> pl.Expr:
    """Text without what does not count around it: see ``AROUND``."""
    return text.str.strip_chars(AROUND)


def as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A column as String, a float that is a whole number without its point; null for NaN."""
    if dtype == pl.Duration:
        column = column.cast(pl.Int64)
    text = column.cast(pl.String)
    if not dtype.is_float():
        return text
    # Whole numbers become floats wherever a table once had gaps: 7.0 is the id 7.
    whole = pl.when(column == column.floor()).then(column.cast(pl.Int64, strict=False))
    found = pl.coalesce(whole.cast(pl.String), text)
    return pl.when(column.is_finite()).then(found)
