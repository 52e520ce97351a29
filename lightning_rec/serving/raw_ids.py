"""Ids of a request as texts, by the one rule of :mod:`lightning_rec.data.ids`, without a frame."""

from collections.abc import Iterable

import polars as pl

from lightning_rec.data.ids import MISSING, ids_of

Id = str | int | float
_MISSING = frozenset(MISSING)


def text_of(value: Id) -> str | None:
    """The id that a value is, None if it is none: see :func:`lightning_rec.data.ids.ids`."""
    if type(value) is int:
        return str(value)
    if type(value) is str and value.isascii() and value.isalnum() and value not in _MISSING:
        return value  # nothing around it, and no number with a point
    found = ids_of(pl.Series([value], dtype=pl.Float64 if type(value) is float else pl.String))
    text: str | None = found[0]
    return text


def texts_of(values: Iterable[Id]) -> list[str | None]:
    """Each id of a list."""
    return [text_of(value) for value in values]
