"""Numbers in whatever form a table has them: of any type, or text with a point or a comma."""

import re

import polars as pl

from lightning_rec.data.dialect import Decimal
from lightning_rec.data.ids import MISSING, stripped

COMMA = r"^[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))$"  # 1,002 may be a thousand and two
UNCLEAR = r"^[+-]?[1-9]\d{0,2}\.\d{3}$|[.,].*[.,]"  # where commas are decimal: thousands, or what?


def numbers(column: pl.Expr, dtype: pl.DataType, decimal: Decimal = "point") -> pl.Expr:
    """Numbers, Float64, of a column of any type but lists, structs and times; null where a cell is
    empty, NaN, or holds something else.

    A narrow float is the decimal that it stands for: .7 as Float32 is .7, not .69999999. Of text,
    blanks around a number do not count; ``true`` is 1 and ``false`` 0. With ``decimal="comma"``
    1.234 is none, as it might be a thousand and more, and 30.0, as pandas writes it, is 30.
    """
    if dtype.is_float() and dtype != pl.Float64:
        column, dtype, decimal = column.cast(pl.String), pl.String(), "point"
    if dtype != pl.String:
        return column.cast(pl.Float64, strict=False).fill_nan(None)
    text = stripped(column)
    truth = text.str.to_lowercase().replace_strict({"true": 1.0, "false": 0.0}, default=None)
    if decimal == "comma":
        pointed = text.str.replace(",", ".", literal=True)
        text = pl.when(text.str.contains(UNCLEAR).not_()).then(pointed)
    return pl.coalesce(text.cast(pl.Float64, strict=False).fill_nan(None), truth)


def odd_text(column: pl.Series) -> pl.Series:
    """The texts of a column, String, that are neither numbers nor one of ``MISSING``."""
    text = column.to_frame("text").select(pl.col("text"), bare=stripped(pl.col("text")))
    number = pl.col("bare").cast(pl.Float64, strict=False)
    return text.filter(number.is_null() & pl.col("bare").is_in(MISSING).not_())["text"]


def only_numbers(column: pl.Series) -> pl.Series | None:
    """A column of text, String, as numbers, Float64; None where it holds something else as well,
    but for what is one of ``MISSING``, which is null, or no number.
    """
    bare = column.to_frame("text").select(stripped(pl.col("text"))).to_series()
    found = bare.cast(pl.Float64, strict=False).fill_nan(None).alias(column.name)
    return None if len(odd_text(column)) or not found.count() else found


def remedy(value: object, decimal: Decimal = "point") -> str:
    """What to do about a value that is no number; empty where nothing is known."""
    text = str(value).strip()
    if decimal == "point" and re.fullmatch(r"[+-]?\d+,\d+", text):
        return " If its comma parts off a fraction, say data.decimal=comma; else leave it out."
    if re.fullmatch(r"[+-]?\d+([.,' \u00a0]\d{3})+([.,]\d+)?", text):
        return " Write thousands without a sign between."
    return ""
