"""How many values the columns of a table have: exactly, unless it is very long."""

import polars as pl

from lightning_rec.data.ids import ids, stripped
from lightning_rec.data.tabular import Table
from lightning_rec.errors import UserError

EXACT = 1_000_000
"""Rows up to which distinct values are counted, and beyond which the number is about right."""


def counts(table: Table) -> tuple[int, dict[str, tuple[int, float]]]:
    """Rows, and for each column its distinct values and the share of empty rows."""
    rows = table.collect(table.frame.select(pl.len())).item()
    if not rows:
        raise UserError(f"{table.path} holds no rows.")
    chosen = []
    for name, dtype in table.schema.items():
        column = pl.col(name)
        empty = column.is_null()
        if dtype == pl.String:
            empty = (stripped(column) == "").fill_null(True)
        chosen += [empty.mean().alias(name), distinct(column, dtype, rows).alias(f"{name}\x00n")]
    found = table.collect(table.frame.select(chosen)).row(0, named=True)
    return rows, {name: (found[f"{name}\x00n"], found[name]) for name in table.schema.names()}


def distinct(column: pl.Expr, dtype: pl.DataType, rows: int) -> pl.Expr:
    """How many values a column has, empty ones apart."""
    if isinstance(dtype, pl.List | pl.Array):
        column, dtype = column.explode(), dtype.inner  # type: ignore[assignment]
    if dtype.is_nested():
        return pl.lit(0)
    if rows > EXACT:
        return column.approx_n_unique()
    return ids(column, dtype).drop_nulls().n_unique()


def values_of(table: Table, lists: dict[str, pl.Expr], rows: int) -> dict[str, int]:
    """How many values there are in columns of lists, List[String]."""
    if not lists:
        return {}
    count = pl.Expr.n_unique if rows <= EXACT else pl.Expr.approx_n_unique
    chosen = [count(each.explode().drop_nulls()).alias(name) for name, each in lists.items()]
    return table.collect(table.frame.select(chosen)).row(0, named=True)
