"""Frames as tables on a terminal: figures left, text right, a table for each group."""

from typing import Any

import polars as pl

from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

DECIMALS = {"score": 4, "ndcg": 4, "mrr": 4, "propensity": 3, "lift": 2, "ratio": 2, "p": 2, "q": 2}


def show(table: pl.DataFrame, key: str | None = None, nothing: str = "", title: str = "") -> None:
    """Print a frame; one table for each value of ``key``, which heads it. Lists are joined."""
    screen = Screen()
    if table.is_empty():
        screen.print(nothing)
        return
    if key is None:
        screen.print(_table(table, title))
        return
    for of, own in table.group_by(key, maintain_order=True):
        screen.print(_table(own.drop(key), str(of[0])))


def _table(table: pl.DataFrame, title: str) -> FittedTable:
    """Figures first, where a row is a place in a list; else in the order of the frame."""
    numeric = {name for name, kind in table.schema.items() if kind.is_numeric()}
    names = table.columns
    if names[0] in numeric:
        names = sorted(names, key=lambda name: (name not in numeric, name != "title"))
    columns = [(figures if name in numeric else text)(name)[0] for name in names]
    shown = FittedTable(title, columns)
    for row in table.select(names).iter_rows():
        cells = zip(names, row, strict=True)
        shown.add_row(*(_figure(n, v) if n in numeric else _word(v) for n, v in cells))
    return shown


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return f"{value:,}"
    if name in ("p", "q", "weight"):
        return f"{value:.2g}"
    return f"{value:,.{DECIMALS.get(name.partition('@')[0], 3)}f}"


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)
