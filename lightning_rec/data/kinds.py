"""Kinds of events in one log, such as views and purchases: which are kept, and a column of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from lightning_rec.data.ids import as_text, stripped
from lightning_rec.data.tabular import Table
from lightning_rec.errors import UserError, listed

Kept = tuple[tuple[str, tuple[str, ...]], ...]  # columns, and the values of each that are kept
_KNOWN = {
    *("view", "views", "pageview", "page_view", "impression", "click", "cart", "addtocart"),
    *("add_to_cart", "basket", "wishlist", "favorite", "fav", "like", "purchase", "buy", "bought"),
    *("order", "transaction", "checkout", "play", "rent", "remove_from_cart"),
}
_MOST = 20  # kinds that a log has


def read_kept(given: Mapping[str, Any] | None, key: str = "data.keep") -> Kept:
    """``{kind: [purchase]}``, or ``{kind: purchase}``, as texts. Raises UserError for no values, in
    the name of ``key``.
    """
    found = []
    for name, values in (given or {}).items():
        one = isinstance(values, str) or not isinstance(values, Sequence)
        several = [values] if one else values
        texts = tuple(_text(each) for each in several if each is not None)
        if not texts:
            raise UserError(f"{key}: which values of '{name}'? Say {{{name}: [VALUE]}}.")
        found.append((str(name), texts))
    return tuple(found)


def _text(value: Any) -> str:
    """As :func:`as_text` has it: ``true``, where YAML says so, is no ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(value).strip()


def holds(table: Table, kept: Kept) -> pl.Expr:
    """Whether a row has one of the values in each of the columns; numbers as they are written."""
    parts = [_value(table, name).is_in(list(values)) for name, values in kept]
    return pl.all_horizontal(pl.lit(True), *parts).fill_null(False)


def values_of(table: Table, name: str) -> str:
    """The commonest values of a column with their counts, in words."""
    counted = table.frame.group_by(_value(table, name).alias("value")).len("rows").drop_nulls()
    found = table.collect(counted).sort("rows", "value", descending=[True, False])
    shown = [f"{value} {rows:,}" for value, rows in found.head(_MOST).rows()]
    return listed(shown, 6) + " and others" * (len(found) > _MOST)


def kinds_in(table: Table, taken: Collection[Any]) -> str | None:
    """A column of text that seems to say what kind of event a row is, by its values."""
    for name, dtype in table.schema.items():
        if dtype != pl.String or name in taken:
            continue
        found = table.collect(table.frame.select(_value(table, name).unique()).head(_MOST + 1))
        values = found.to_series().drop_nulls().str.to_lowercase().str.replace_all("[ -]", "_")
        if 1 < len(values) <= _MOST and len(set(values) & _KNOWN) > 1:
            return name
    return None


def _value(table: Table, name: str) -> pl.Expr:
    return stripped(as_text(pl.col(name), table.schema[name]))
