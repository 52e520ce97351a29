"""Boosts and campaigns: what moves items up or down, and from when to when."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.rules.given import moments, rows_of, shown
from lightning_rec.rules.where import holds

log = logging.getLogger(__name__)

KNOWN = ("item", "where", "factor", "add", "from", "to")

_SECONDS = r"^-?\d+(\.\d*)?([eE][+-]?\d+)?$"

_MOST = torch.finfo(torch.float32).max
MOST = 1_000_000  # of a factor, and of what is added: float32 keeps an order beside it

Codes = Callable[[pl.Series], pl.Series]


class Boosts(NamedTuple):
    """What is done to the score of each item, both float32 [V].

    factor: a score s becomes ``factor * s`` if it is positive, and ``s / factor`` if it is
    negative: above 1 all items move up, below 1 all move down, and those of one factor keep their
    order. A score near 0 hardly moves. add: is added then.
    """

    factor: NDArray[np.float32]
    add: NDArray[np.float32]

    def applied(self, scores: Tensor, items: slice | Tensor) -> Tensor:
        """Scores of ``items``, float [B, M] of a slice [M] or of codes [B, M], boosted."""
        factor, add = (torch.from_numpy(each)[items] for each in self)
        moved = torch.where(scores > 0, scores * factor, scores / factor) + add
        return moved.clamp(-_MOST, _MOST)  # -inf would be left out


def boosts_at(given: Any, at: float, items: pl.DataFrame, codes: Codes, notes: list[str]) -> Boosts:
    """The boosts that hold at a moment; those of one item are multiplied, and added.

    Args:
        given: a table with ``item`` or ``where``, ``factor`` or ``add``, and perhaps ``from`` and
            ``to`` (dates or seconds; the first moment and the first one after), a row for each
            boost; a path to one.
        at: seconds since 1970.
        items: the catalogue, row i is item code i.
        codes: codes of ids, null where there is none.
        notes: is added a sentence on what does nothing.

    What does nothing is logged as well: rows out of force, conditions that are true of no item.

    Raises:
        UserError: naming the row, where it is no boost.
    """
    rows = rows_of("boosts", given)
    _check(rows)
    numbers = {name: _numbers(rows, name) for name in ("factor", "add")}
    bounds = {name: _bounds(rows, name) for name in ("from", "to")}
    late = bounds["from"] >= bounds["to"]
    if late.any():
        raise UserError(f"boosts, row {int(late.argmax()) + 1}: it ends before it begins.")
    found = Boosts(np.ones(len(items), np.float32), np.zeros(len(items), np.float32))
    running = np.flatnonzero((bounds["from"] <= at) & (at < bounds["to"]))
    one, where = _column(rows, "item"), _column(rows, "where")
    code = codes(one) if one is not None else pl.Series([None] * len(rows), dtype=pl.UInt32)
    unknown, nowhere = [], []
    for row in running.tolist():
        if one is not None and one[row] is not None:
            which: Any = code[row]
            if which is None:
                unknown.append(one[row])
                continue
        else:
            assert where is not None
            which = holds(where[row], items, f"boosts, row {row + 1}: where")
            nowhere += [] if which.any() else [f"row {row + 1} ({where[row]})"]
        found.factor[which] *= numbers["factor"][row]
        found.add[which] += numbers["add"][row]
    _check_together(found, items)
    waiting = sorted(set(range(1, len(rows) + 1)) - set((running + 1).tolist()))
    idle = _idle(unknown, nowhere, waiting, f"of {len(rows)} rows", at)
    for each in idle:
        log.warning("%s", each)
    notes += idle
    return found


def _idle(
    unknown: list[Any], nowhere: list[str], waiting: list[int], of: str, at: float
) -> list[str]:
    """Sentences on boosts that do nothing: unknown items, rows by their conditions, and numbers."""
    told = []
    if unknown:
        words = f"boosts: {len(unknown)} of the items are not known to this run and are passed over"
        told.append(f"{words}, such as {listed(unknown, 3)}.")
    if nowhere:
        told.append(f"boosts: the condition is true of no item in {listed(nowhere, 3)}.")
    if waiting:
        words = f"boosts: {of} these are not in force at {shown(at)}"
        told.append(f"{words}: {listed(waiting, 5)}.")
    return told


def _check_together(found: Boosts, items: pl.DataFrame) -> None:
    """Raise UserError where several boosts of one item come to more than one may be."""
    np.clip(found.factor, 1 / MOST, None, out=found.factor)  # what is multiplied may come to 0
    for name, of in zip(("factor", "add"), found, strict=True):
        if (odd := ~(np.abs(of) <= MOST)).any():
            item = items["item"][int(odd.argmax())]
            raise UserError(f"boosts: those of item {item!r} make together a {name} over {MOST:,}.")


def _check(rows: pl.DataFrame) -> None:
    """Raise UserError for columns that are no boosts, or rows that say too little or too much."""
    if odd := [name for name in rows.columns if name not in KNOWN]:
        raise UserError(f"boosts: unknown column '{odd[0]}'.{suggest(odd[0], KNOWN)}")
    for one, other in (("item", "where"), ("factor", "add")):
        said = [_column(rows, name) for name in (one, other)]
        given = [
            np.zeros(len(rows), bool) if s is None else s.is_not_null().to_numpy() for s in said
        ]
        both = "neither" if one == "item" else "none"
        if one == "item" and (wrong := given[0] & given[1]).any():
            row = int(wrong.argmax()) + 1
            raise UserError(f"boosts, row {row}: it names an item and a where: say one of them.")
        if (wrong := ~(given[0] | given[1])).any():
            row = int(wrong.argmax()) + 1
            raise UserError(f"boosts, row {row}: it has {both} of '{one}' and '{other}'.")


def _numbers(rows: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """The factors, or what is added; 1, or 0, where nothing is said."""
    column = _column(rows, name)
    nothing = 1.0 if name == "factor" else 0.0
    if column is None:
        return np.full(len(rows), nothing)
    read = column.cast(pl.String).cast(pl.Float64, strict=False)
    fits = (read.abs() <= MOST) & ((read > 0) if name == "factor" else True)
    if (wrong := column.is_not_null() & ~fits.fill_null(False)).any():
        row = int(wrong.arg_max() or 0)
        must = f"from {-MOST:,} to {MOST:,}"
        if name == "factor":
            must = f"above 0, up to {MOST:,}; to leave items out, say deny= or where="
        raise UserError(f"boosts, row {row + 1}: {name}={column[row]} has to be a number {must}.")
    return read.fill_null(nothing).to_numpy()


def _bounds(rows: pl.DataFrame, name: str) -> NDArray[np.float64]:
    column = _column(rows, name)
    never = -np.inf if name == "from" else np.inf
    if column is None:
        return np.full(len(rows), never)
    told, found = f"boosts, column '{name}'", np.full(len(rows), never)
    plain = pl.repeat(False, len(rows), eager=True)
    if column.dtype == pl.String:  # seconds in one row and dates in another become text
        plain = column.str.contains(_SECONDS).fill_null(False)
    for some in (plain, ~plain):
        read = moments(told, column.filter(some)).fill_null(never)
        found[some.to_numpy()] = read.to_numpy()
    return found


def _column(rows: pl.DataFrame, name: str) -> pl.Series | None:
    """A column, empty text as null; None where there is none."""
    if name not in rows.columns:
        return None
    column = rows[name]
    if column.dtype == pl.String:
        column = column.str.strip_chars().replace("", None)
    return column
