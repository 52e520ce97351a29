"""Leaks of clicks known by their effect: lists and histories that hold what their own row shows.

It may stand there for better reasons, since people come back to things: how often it does, in
clicks and in other rows, tells a habit from a leak. No times are needed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.histories import Past
from lightning_rec.data.clicks.processor import slices
from lightning_rec.data.clicks.schema import Field
from lightning_rec.data.clicks.table import BLOCK
from lightning_rec.data.core.audited import Finding
from lightning_rec.data.shares import PARTS
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Ints, Mask

_APART = 0.2  # share of clicks with their item in the list, less that of other rows
_AT_END = 0.5  # share of histories that begin, or end, with the row's own item
_EVERYWHERE = 0.9  # share of rows with their own item in the history, the first meeting included
_UNKNOWN = 0.5  # share of the items of all histories
_LEAST = 20  # rows of either class, fewer of which tell nothing


class _Shares(NamedTuple):
    """How many of the clicks, and of the other rows, of a part have it."""

    part: str
    click: float
    other: float
    rows: Ints

    @property
    def differ(self) -> bool:
        """Whether the two differ as no habit makes them."""
        return abs(self.click - self.other) >= _APART


def told_of_targets(at: Evidence) -> tuple[dict[str, float], list[Finding]]:
    """How often the item of a row stands in its own history, in clicks and in other rows, by part;
    and what is found where the two differ as no habit makes them, or where histories that were
    given mostly hold items that training does not show.
    """
    facts: dict[str, float] = {}
    if at.encoded.past is None:
        return facts, []
    told: list[Finding] = []
    found, first, last = _own_items(at, at.encoded.past)
    for each in _shares(at, found):
        begin, end, whole = (float(where[each.rows].mean()) for where in (first, last, found))
        if each.click:
            facts[f"{each.part} clicks with their item in the history"] = round(each.click, 4)
        if each.differ or max(begin, end) >= _AT_END or whole >= _EVERYWHERE:
            ends = {"first": begin, "last": end}
            ways = [
                f", in {n:.0%} of all rows as the {of} of it" for of, n in ends.items() if n >= 0.1
            ]
            sentence = (
                f"the item shown stands in the row's own history in {each.click:.1%} of the clicks "
                f"of {each.part} and in {each.other:.1%} of its other rows{''.join(ways)}. If "
                "people come back to items, that is above all what the figures say. If the "
                "histories were made with the row itself or later ones, they hold the answer: have "
                "them made of the log, data.fields.history=null data.fields.past=clicks."
            )
            told.append(at.finding(at.fields.history or str(at.fields.item), sentence))
    history, missed = at.fields.history, at.encoded.counts.get("unknown items in histories", 0)
    every = missed + len(at.encoded.past.items)
    if history is not None and missed >= max(_LEAST, _UNKNOWN * every):
        sentence = (
            f"{missed:,} of the {every:,} items in '{history}' are none that '{at.fields.item}' "
            "has in training, and were left out. If they should be known, are they written alike "
            "in both columns?"
        )
        told.append(at.finding(history, sentence))
    return facts, told


def told_of_lists(at: Evidence) -> Iterator[Finding]:
    """Each list that holds a row's own category, such as its item, in clicks above all."""
    for listed, single, found in _pairs(at.encoded):
        for each in _shares(at, found):
            if each.differ:
                yield at.finding(
                    listed,
                    f"the row's own '{single}' stands in its '{listed}' in {each.click:.1%} of the "
                    f"clicks of {each.part} and in {each.other:.1%} of its other rows. If "
                    f"'{listed}' was made with the row itself or later ones, it holds the answer: "
                    "take it out of data.fields.multi_valued, or have histories made of the log, "
                    "data.fields.past=clicks.",
                )


def _shares(at: Evidence, found: Mask) -> Iterator[_Shares]:
    clicked, part = at.labels()[:, 0] == 1, at.part
    for place, name in enumerate(PARTS):
        rows = [np.flatnonzero((part == place) & (clicked == click)) for click in (True, False)]
        if min(map(len, rows)) >= _LEAST:
            click, other = (float(found[each].mean()) for each in rows)
            yield _Shares(name, click, other, np.concatenate(rows))


def _own_items(at: Evidence, past: Past) -> tuple[Mask, Mask, Mask]:
    """Which rows have their own item in their history: bool [N], anywhere, first and last."""
    item = at.items_shown()
    found, first, last = np.zeros((3, len(item)), dtype=bool)
    for start in range(0, len(item), BLOCK):
        own = item[start : start + BLOCK]
        end = np.asarray(past.end[start : start + BLOCK])
        begin = np.maximum(past.start[start : start + BLOCK], end - at.fields.history_max_len)
        row, place = ranges(begin, end)
        found[start + row[past.items[place] == own[row]]] = True
        filled = np.flatnonzero(end > begin)
        first[start + filled] = past.items[begin[filled]] == own[filled]
        last[start + filled] = past.items[end[filled] - 1] == own[filled]
    return found, first, last


def _pairs(encoded: Encoded) -> Iterator[tuple[str, str, Mask]]:
    """Each list and category that share values, and which rows have their category in the list."""
    mine = slices(encoded.schema)
    for of in encoded.schema.of("multi_valued"):
        for one in encoded.schema.of("categorical"):
            alike = _alike(encoded, of, one)
            if not alike.any():
                continue
            found = np.zeros(len(encoded.label), dtype=bool)
            for start in range(0, len(found), BLOCK):
                ids = np.asarray(encoded.ids[start : start + BLOCK])
                listed = ids[:, mine[of.name]] - of.start
                own = ids[:, mine[one.name].start]
                same = alike[np.maximum(listed, 0)] == own[:, None]
                found[start : start + BLOCK] = (same & (listed > 0)).any(axis=1)
            yield of.name, one.name, found


def _alike(encoded: Encoded, of: Field, one: Field) -> NDArray[np.int32]:
    """The id in ``one`` of the value of each code of ``of``: int32 [size], 0 for none."""
    known = encoded.vocabulary.drop_nulls("value")
    listed, single = (known.filter(pl.col("field") == field.name) for field in (of, one))
    both = listed.join(single, on="value")
    found = np.zeros(of.size, dtype=np.int32)
    found[both["id"].to_numpy() - of.start] = both["id_right"].to_numpy()
    return found
