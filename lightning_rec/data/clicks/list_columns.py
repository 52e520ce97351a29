"""Columns of text that hold lists: how to tell them, and what parts their values."""

import polars as pl

from lightning_rec.data.ids import AROUND

_MARKS = "|;, "  # what may part values; a blank last, as words have them too


def separator_of(column: pl.Series) -> str | None:
    """What parts the values of a column of lists in text; None if it holds none."""
    return next((mark for mark in _MARKS if is_parted(column, mark)), None)


def said(mark: str) -> str:
    """A separator in a sentence."""
    return "blanks" if mark == " " else mark


def is_literal(column: pl.Series) -> bool:
    """Whether all values are lists in brackets."""
    there = column.cast(pl.String).drop_nulls().str.strip_chars()
    there = there.filter(there != "")
    return len(there) > 0 and bool((there.str.starts_with("[") & there.str.ends_with("]")).all())


def is_parted(column: pl.Series, separator: str) -> bool:
    """Whether many values are lists: parted, of parts that come back in other values."""
    there = column.cast(pl.String).drop_nulls().str.strip_chars(AROUND)
    there = there.filter(there != "").unique()
    blanks = separator == " "
    parts = there.str.extract_all(r"\S+") if blanks else there.str.split(separator)
    width, known = parts.list.len(), parts.explode().unique()
    if not len(there) or (width > 1).mean() < 0.1 or len(known) >= width.sum() / 2:  # type: ignore[operator]
        return False
    # Words of titles and names are parted by blanks as well: lists are of ids, or of a few words
    # of which most stand alone in some row.
    if not blanks or known.str.contains(r"^[A-Za-z_-]{0,8}\d+$").all():
        return not blanks or width.n_unique() > 1
    alone = known.is_in(there.filter(width == 1).implode()).mean()
    return 2 * len(known) <= len(there) and float(alone or 0) >= 0.5  # type: ignore[arg-type]
