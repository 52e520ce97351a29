"""Settings that fit a table beside a log, of items or of users, by the ids of the log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.dialect import Dialect
from lightning_rec.data.ids import ids_of
from lightning_rec.data.names import sounding
from lightning_rec.data.plain import Unfit
from lightning_rec.data.propose import is_headless
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.errors import UserError, listed

_TITLES = "title name headline"
_DIFFERENT = 0.9  # share of rows with a text of their own from which on a column holds titles


def beside(
    path: Path, setting: str, role: str, ids: pl.Series, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Settings of ``data=table`` for the table of the ``role`` (``item`` or ``user``), which is
    called ``catalogue`` or ``users`` there: what is not among those ``given`` is told by values.

    ``ids``: those of the log. Raises UserError where no column holds them.
    """
    found: dict[str, Any] = {}
    encoding = given.get(f"{setting}_encoding")
    columns = given.get(f"{setting}_columns")
    while True:
        form = {"encoding": encoding or "utf-8", "quoted": given.get("quoted", True)}
        try:
            headless = columns is None and is_headless(path, form)
            table = open_table(
                path, Dialect(columns=columns, header=False if headless else None, **form)
            )
            rows = table.collect(table.frame)
        except Unfit as error:
            if encoding is not None or "encoding" not in error.settings:
                raise
            encoding = found[f"{setting}_encoding"] = error.settings["encoding"]
            continue
        break
    column = given.get(f"{setting}_{role}") or _holding(path, rows, setting, role, ids)
    named = {column: role} if headless else {}
    found[f"{setting}_{role}"] = named.get(column, column)
    if role == "item" and f"{setting}_title" not in given:
        title = _title(rows, column)
        named |= {title: "title"} if headless and title else {}
        found |= {f"{setting}_title": named.get(title, title)} if title else {}
    if headless:
        found[f"{setting}_columns"] = [named.get(name, name) for name in rows.columns]
    return found


def _holding(path: Path, rows: pl.DataFrame, setting: str, role: str, ids: pl.Series) -> str:
    """The column without doubled values that holds most of the ids."""
    shares = {}
    for name in rows.columns:
        if rows[name].dtype.is_nested():
            continue
        values = ids_of(rows[name])
        if not values.null_count() and not values.is_duplicated().any():
            shares[name] = float(ids.is_in(values.implode()).mean() or 0)  # type: ignore[arg-type]
    best = max(shares, key=lambda name: shares[name], default=None)
    if best is None or shares[best] < 0.5:
        raise UserError(
            f"{path}: no column holds the {role} ids of the log, each once; there are: "
            f"{listed(rows.columns)}. Say {setting}_{role}=COLUMN."
        )
    return best


def _title(rows: pl.DataFrame, column: str) -> str | None:
    """A column of texts that is called a title, else of which each item has another one."""
    texts = [name for name in rows.columns if name != column and rows[name].dtype == pl.String]
    for word in _TITLES.split():
        if (found := sounding(word, texts)) is not None:
            return found
    for name in texts:
        values = rows[name].drop_nulls()
        words = values.cast(pl.Float64, strict=False).null_count() > len(values) / 2
        if words and values.n_unique() > _DIFFERENT * len(rows):
            return name
    return None


def opened(path: Path, setting: str, settings: Mapping[str, Any]) -> Table:
    """The table as these settings read it."""
    dialect = Dialect(
        columns=settings.get(f"{setting}_columns"),
        encoding=settings.get(f"{setting}_encoding", "utf-8"),
        quoted=settings.get("quoted", True),
    )
    return open_table(path, dialect)
