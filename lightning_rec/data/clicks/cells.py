"""What a cell of a click table means, whatever file it came from: numbers, labels and lists."""

from typing import Any

import polars as pl

from lightning_rec.data.ids import MISSING, ids, ids_of, stripped
from lightning_rec.data.lists import lists
from lightning_rec.data.numbers import numbers as read_numbers
from lightning_rec.errors import UserError, listed

YES = ("1", "true", "t", "yes", "y", "on", "pos", "positive", "click", "clicked")
NO = ("0", "false", "f", "no", "n", "off", "neg", "negative", "no click", "not clicked")
"""Labels that are words, in small or capital letters."""
LABELS = "0 or 1, true or false, yes or no, on or off, pos or neg, or click or no click"
SHOWN = 6  # values of a column that are named where it cannot be read

MOST = 1e38  # what float32, in which models compute, still holds

_LITERAL = r"^\[(?s:.*)\]$"


def numbers(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Numbers, Float64; else null. Raises UserError for a column of neither numbers nor text."""
    if dtype.is_nested() or dtype.is_temporal() or dtype in (pl.Binary, pl.Object):
        raise UserError(f"Column '{name}' is declared as numeric and holds {dtype}.")
    return read_numbers(column, dtype)


def is_word(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Where a column of numbers holds something else, or one beyond ``MOST``: Boolean."""
    found = numbers(column, dtype, name)
    odd = (found.abs() > MOST).fill_null(value=False)
    if dtype != pl.String:
        return odd
    filled = stripped(column).is_in(MISSING).not_()
    return odd | (filled & found.is_null()).fill_null(value=False)


def labels(column: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Labels, Float64 of 0 and 1; null for anything else. ``YES`` and ``NO`` are read as well."""
    found = numbers(column, dtype, name)
    if dtype == pl.String:
        word = stripped(column).str.to_lowercase().str.replace_all("[ _-]+", " ")
        known = dict.fromkeys(YES, 1.0) | dict.fromkeys(NO, 0.0)
        found = pl.coalesce(found, word.replace_strict(known, default=None))
    return pl.when(found.is_in([0.0, 1.0])).then(found)


def labels_instead(values: pl.Series, bad: Any, node: str) -> str:
    """What to do about a column of labels with a ``bad`` one, by some of its values."""
    text = ids_of(pl.concat([values, pl.Series(values.name, [bad], values.dtype)]).unique())
    known = text.drop_nulls().sort()
    found = known.to_frame().select(read_numbers(pl.col(known.name), pl.String())).to_series()
    numbers, shown = sorted(found.drop_nulls()), listed(known, SHOWN)
    if text.null_count() and set(found) <= {0.0, 1.0}:
        return "Write 0 or 1 where it is empty, or leave such rows out: data.invalid=drop."
    if found.null_count():
        return f"There are {shown}: write 1 for a click and 0 for none."
    if len(numbers) == 2:
        least = f"{node}.positive_from={numbers[1]:g}"
        return f"There are {shown}: {least} takes {numbers[1]:g} for a click."
    return f"There are {shown}: say {node}.positive_from=NUMBER, the least that is a click."


def sequences(column: pl.Expr, dtype: pl.DataType, separator: str) -> pl.Expr:
    """Values in an order, List[String], each an id as :func:`ids` has them, without empty ones.
    Text is values parted by ``separator``, or a literal of JSON, Python or numpy: ``['a', 'b']``.
    Raises UserError where a value is itself a list, a struct or a Python object.
    """
    inner: Any = getattr(dtype, "inner", dtype)
    if inner.is_nested() or inner == pl.Object:
        name = column.meta.output_name()
        raise UserError(f"Column '{name}' holds {dtype}: write lists of numbers or texts.")
    if inner != dtype:
        return column.cast(pl.List(inner)).list.eval(ids(pl.element(), inner).drop_nulls())
    text = column.cast(pl.String)
    literal = stripped(text).str.contains(_LITERAL)
    found = pl.when(literal).then(lists(column, dtype)).otherwise(text.str.split(separator))
    return found.list.eval(ids(pl.element(), pl.String()).drop_nulls())
