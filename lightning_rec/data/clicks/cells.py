"""What a cell of a click table means, whatever file it came from: numbers, labels and lists."""

import polars as pl

from lightning_rec.data.ids import MISSING, ids, stripped
from lightning_rec.data.lists import lists
from lightning_rec.data.numbers import numbers as read_numbers
from lightning_rec.errors import UserError

YES = ("1", "true", "t", "yes", "y", "click", "clicked")
NO = ("0", "false", "f", "no", "n", "no click", "not clicked")
"""Labels that are words, in small or capital letters."""
LABELS = "0 or 1, true or false, yes or no, or click or no click"

_LITERAL = r"^\[(?s:.*)\]$"


def numbers(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Numbers, Float64, as :func:`lightning_rec.data.numbers.numbers` reads them; else null.

    Raises:
        UserError: if the column called ``name`` holds lists or times.
    """
    if dtype.is_nested() or dtype.is_temporal():
        raise UserError(f"Column '{name}' is declared as numeric and holds {dtype}.")
    return read_numbers(column, dtype)


def is_word(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Where a column of numbers holds something else: Boolean."""
    if dtype != pl.String:
        return pl.lit(value=False)
    there = stripped(column).is_in(MISSING).not_()
    return (there & numbers(column, dtype, name).is_null()).fill_null(value=False)


def labels(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Labels, Float64 of 0 and 1; null for anything else. ``YES`` and ``NO`` are read as well."""
    found = numbers(column, dtype, name)
    if dtype == pl.String:
        word = stripped(column).str.to_lowercase().str.replace_all("[ _-]+", " ")
        known = dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)
        found = pl.coalesce(found, word.replace_strict(known, default=None))
    return pl.when(found.is_in([0.0, 1.0])).then(found)


def sequences(column: pl.Expr, dtype: pl.DataType, separator: str) -> pl.Expr:
    """Values in an order, List[String], each an id as :func:`ids` has them, without empty ones.

    Text is values parted by ``separator``, or a literal of JSON, Python or numpy: ``[5, 7]``,
    ``['a', 'b']``.
    """
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        values = column.cast(pl.List(inner))
        return values.list.eval(ids(pl.element(), inner).drop_nulls())  # type: ignore[arg-type]
    text = column.cast(pl.String)
    literal = stripped(text).str.contains(_LITERAL)
    found = pl.when(literal).then(lists(column, dtype)).otherwise(text.str.split(separator))
    return found.list.eval(ids(pl.element(), pl.String()).drop_nulls())
