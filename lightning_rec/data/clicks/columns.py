"""Columns of a table of clicks, each read as what it was declared to be."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.errors import UserError


def text(table: ClickTable, name: str) -> pl.Series:
    """A column of categories as String; what is empty is null."""
    column = table.rows.select(name).collect()[name]
    if column.dtype.is_nested():
        raise UserError(
            f"{table.info['name']}: column '{name}' holds lists: declare it in "
            "data.fields.multi_valued."
        )
    if column.dtype.is_float():
        # Whole numbers become floats wherever a table once had gaps: 7.0 is the category 7.
        whole = column.is_null() | column.is_nan() | (column == column.floor())
        column = column.fill_nan(None)
        if whole.all() and not column.is_infinite().any():
            column = column.cast(pl.Int64, strict=False)
    words = column.cast(pl.String)
    return words.set(words.str.strip_chars() == "", None)


def lists(table: ClickTable, name: str, separator: str) -> pl.Series:
    """A column of many values as List[String], without empty and doubled ones."""
    dtype = table.rows.collect_schema()[name]
    column = pl.col(name)
    if not isinstance(dtype, pl.List):
        column = column.cast(pl.String).str.split(separator)
    values = column.cast(pl.List(pl.String)).list.eval(
        pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    )
    return table.rows.select(values.list.unique(maintain_order=True)).collect()[name]


def numbers(table: ClickTable, name: str) -> NDArray[np.float64]:
    """A column of numbers, float64 [N], NaN where it is empty. Raises UserError for words."""
    column = table.rows.select(name).collect()[name]
    if column.dtype.is_nested() or column.dtype.is_temporal():
        raise UserError(
            f"{table.info['name']}: column '{name}' is declared as numeric and holds "
            f"{column.dtype}."
        )
    found = column.cast(pl.Float64, strict=False)
    bad = found.is_null() & column.is_not_null()
    if column.dtype == pl.String:
        bad &= column.str.strip_chars() != ""
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise UserError(
            f"{table.info['name']}, row {row + 1}: '{column[row]}' in column '{name}' is no number "
            f"({int(bad.sum()):,} such rows), but data.fields declares it as one."
        )
    return found.fill_null(float("nan")).to_numpy()


def label(table: ClickTable, fields: Fields) -> NDArray[np.float32]:
    """The labels, float32 [N] of 0 and 1. Raises UserError for anything else."""
    assert fields.label is not None
    found = numbers(table, fields.label)
    if fields.positive_from is not None:
        bad, found = np.isnan(found), (found >= fields.positive_from).astype(np.float64)
        wanted = "a number"
    else:
        bad = (found != 0) & (found != 1)
        wanted = "0 or 1; for ratings and the like say data.fields.positive_from=NUMBER"
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raw = table.rows.slice(row, 1).select(fields.label).collect().item()
        raise UserError(
            f"{table.info['name']}, row {row + 1}: the label in column '{fields.label}' is {raw} "
            f"({int(bad.sum()):,} such rows). It must be {wanted}."
        )
    return found.astype(np.float32)


def check_classes(where: str, labels: NDArray[np.float32]) -> None:
    """Raise UserError if there are labels, and all are alike."""
    if len(labels) and labels.min() == labels.max():
        raise UserError(
            f"{where}: all {len(labels):,} labels are {labels[0]:g}. Clicks need both classes in "
            "each part: check data.fields.label, or choose another protocol."
        )


def weight(table: ClickTable, fields: Fields) -> NDArray[np.float32] | None:
    """What each row counts for, float32 [N], or None. Raises UserError if one is below 0."""
    if fields.weight is None:
        return None
    found = numbers(table, fields.weight)
    bad = ~np.isfinite(found) | (found < 0)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(
            f"{table.info['name']}, row {row + 1}: the weight in column '{fields.weight}' is "
            f"{found[row]}. Weights are numbers of 0 or more."
        )
    return found.astype(np.float32)


def group(table: ClickTable, fields: Fields) -> NDArray[np.int32] | None:
    """A number for the group of each row, int32 [N], -1 where there is none; or None."""
    if fields.group is None:
        return None
    codes = text(table, fields.group).rank("dense")
    return codes.cast(pl.Int32).fill_null(0).to_numpy() - 1
