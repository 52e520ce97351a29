"""Columns of clicks, read as what they were declared to be: some rows, or all, block by block."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import cells
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Floats, Mask
from lightning_rec.errors import UserError

Cell = Callable[[pl.Expr, pl.DataType, str], pl.Expr]  # reads the cells of a column


def text(column: pl.Series) -> pl.Series:
    """Categories as String, after the rule of :func:`lightning_rec.data.ids.ids`; null if empty."""
    if column.dtype.is_nested() or column.dtype == pl.Object:
        raise UserError(
            f"Column '{column.name}' holds {column.dtype}, not one number or text in each row: "
            "lists are declared in data.fields.multi_valued."
        )
    if not column.dtype.is_float() and column.dtype != pl.Duration:
        plain = column.cast(pl.String)
        known = plain.unique()  # mostly few, and as they should be
        if ids_of(known).eq_missing(known).all():
            return plain
    return ids_of(column)


def lists(column: pl.Series, separator: str) -> pl.Series:
    """Many values in each row as List[String], without empty and doubled ones."""
    return sequences(column, separator).list.unique(maintain_order=True)


def sequences(column: pl.Series, separator: str) -> pl.Series:
    """Values in an order in each row as List[String], without empty ones."""
    read = cells.sequences(pl.col(column.name), column.dtype, separator)
    return column.to_frame().select(read).to_series()


def numbers(column: pl.Series, cell: Cell = cells.numbers) -> Floats:
    """Numbers, float64 [n]; NaN where a row is empty or holds words."""
    return _read(column, cell).fill_null(float("nan")).to_numpy()


def words(column: pl.Series) -> Mask:
    """Where a column of numbers holds something else: bool [n]."""
    return _read(column, cells.is_word).to_numpy()


def _read(column: pl.Series, read: Cell) -> pl.Series:
    found = read(pl.col(column.name), column.dtype, column.name)
    return column.to_frame().select(found).to_series()


@dataclass
class Faults:
    """Rows of a column that are not what they should be, counted block by block."""

    table: ClickTable
    count: int = 0
    row: int = 0
    value: Any = None

    def add(self, start: int, column: pl.Series, bad: Mask) -> None:
        """Count the bad rows of a block that begins at row ``start``."""
        if not self.count and bad.any():
            at = int(bad.argmax())
            self.row, self.value = start + at, column[at]
        self.count += int(bad.sum())

    def told(self, what: str, remedy: Callable[[Any], str] = lambda value: "") -> None:
        """Raise UserError if there was a bad row; ``what`` may name its ``{value}``."""
        if self.count:
            told = "empty" if self.value is None else str(self.value)
            more = f" ({self.count:,} such rows)" if self.count > 1 else ""
            raise UserError(
                f"{self.table.where(self.row)}: {what.replace('{value}', told)}{more}."
                f"{remedy(self.value)}"
            )


def label(table: ClickTable, goal: Goal, node: str) -> NDArray[np.float32]:
    """What the column of a goal says, float32 [N] of 0 and 1; ``node``: of the config, where it is
    declared. Raises UserError if it holds something else.
    """
    name, least = str(goal.column), goal.positive_from
    found, faults = _numbers(table, name, cells.labels if least is None else cells.numbers)
    must = cells.LABELS
    if least is not None:
        must = f"a number, of which {node}.positive_from={least:g} and more count as 1"
    advice = ""
    if faults.count and least is None:
        _, first = next(table.blocks(name))
        advice = f" {cells.labels_instead(first[name], faults.value, node)}"
    faults.told(f"the label in column '{name}' is {{value}}; it must be {must}", lambda _: advice)
    return (found == 1 if least is None else found >= least).astype(np.float32)


def weight(table: ClickTable, fields: Fields) -> NDArray[np.float32] | None:
    """What each row counts for, float32 [N], or None. Raises UserError if one is below 0."""
    name = fields.weight
    if name is None:
        return None
    found, faults = _numbers(table, name, cells.numbers, lambda x: ~np.isfinite(x) | (x < 0))
    faults.told(f"the weight in column '{name}' is {{value}}; weights are numbers of 0 or more")
    return found.astype(np.float32)


def _numbers(
    table: ClickTable,
    name: str,
    cell: Cell,
    bad: Callable[[Floats], Mask] = np.isnan,
) -> tuple[Floats, Faults]:
    """What ``cell`` makes of a column, float64 [N], and the rows of which it is ``bad``."""
    found, faults = np.zeros(table.info["rows"]), Faults(table)
    for start, frame in table.blocks(name):
        values = numbers(frame[name], cell)
        faults.add(start, frame[name], bad(values))
        found[start : start + len(frame)] = values
    return found, faults


def codes(
    table: ClickTable, name: str, read: Callable[[pl.Series], pl.Series]
) -> NDArray[np.int32]:
    """The place of each row's value among all distinct ones, sorted: int32 [N], -1 for null."""
    found_in = (read(frame[name]).drop_nulls().unique() for _, frame in table.blocks(name))
    known = reduce(lambda known, values: known.append(values).unique(), found_in)
    places = known.sort().to_frame("value").with_row_index("place")
    found = np.zeros(table.info["rows"], dtype=np.int32)
    for start, frame in table.blocks(name):
        rows = read(frame[name]).to_frame("value")
        joined = rows.join(places, on="value", how="left", maintain_order="left")
        place = joined["place"].cast(pl.Int32).fill_null(-1)
        found[start : start + len(frame)] = place.to_numpy()
    return found
