"""Leaks of clicks known by their effect: lists and histories that hold what their own row shows.

It may stand there for better reasons, since people come back to things: how often it does, in
clicks and in other rows, tells a habit from a leak. No times are needed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.audit_histories import items_shown
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Field, Fields
from lightning_rec.data.clicks.findings import Finding
from lightning_rec.data.clicks.table import BLOCK, ClickTable
from lightning_rec.data.shares import PARTS

_APART = 0.2  # share of clicks with their item in the list, less that of other rows
_AT_END = 0.5  # share of histories that begin, or end, with the row's own item
_EVERYWHERE = 0.9  # share of rows with their own item in the history, the first meeting included
_UNKNOWN = 0.5  # share of the items of all histories
_LEAST = 20  # rows of either class, fewer of which tell nothing

Bools = NDArray[np.bool_]


class _Shares(NamedTuple):
    """How many of the clicks, and of the other rows, of a part have it."""

    part: str
    click: float
    other: float
    rows: NDArray[np.int64]

    @property
    def apart(self) -> bool:
        """Whether the two differ as no habit makes them."""
        return abs(self.click - self.other) >= _APART


def told_of_targets(
    table: ClickTable, fields: Fields, encoded: Encoded, part: NDArray[np.int8]
) -> tuple[dict[str, float], list[Finding]]:
    """How often the item of a row stands in the row's own history, in clicks and in other rows.

    Returns the shares in each part, and what is found where the two differ as no habit makes them,
    where most histories begin or end with the row's own item, or nearly all hold it.
    """
    facts: dict[str, float] = {}
    if encoded.past is None:
        return facts, []
    told: list[Finding] = []
    about, name = fields.history or str(fields.item), table.info["name"]
    found, first, last = _own_items(fields, encoded)
    for each in _shares(encoded, part, found):
        begin, end, whole = (float(where[each.rows].mean()) for where in (first, last, found))
        if each.click:
            facts[f"{each.part} clicks with their item in the history"] = round(each.click, 4)
        if each.apart or max(begin, end) >= _AT_END or whole >= _EVERYWHERE:
            ends = {"first": begin, "last": end}
            at = [f"in {n:.0%} of all rows as the {of} of it" for of, n in ends.items() if n >= 0.1]
            sentence = (
                f"{name}: the item shown stands in the row's own history in {each.click:.1%} of "
                f"the clicks of {each.part} and in {each.other:.1%} of its other rows"
                f"{''.join(f', {where}' for where in at)}. If people come back to items, that is "
                "above all what the figures say. If the histories were made with the row itself or "
                "later ones, they hold the answer: have them made of the log, "
                "data.fields.history=null data.fields.past=clicks."
            )
            told.append(Finding(about, sentence))
    return facts, told + _foreign(name, fields, encoded)


def _foreign(name: str, fields: Fields, encoded: Encoded) -> list[Finding]:
    """Whether histories that were given mostly hold items that training does not show."""
    missed, past = encoded.counts.get("unknown items in histories", 0), encoded.past
    if fields.history is None or past is None:
        return []
    every = missed + len(past.items)
    if missed < max(_LEAST, _UNKNOWN * every):
        return []
    sentence = (
        f"{name}: {missed:,} of the {every:,} items in '{fields.history}' are none that "
        f"'{fields.item}' has in training, and were left out. If they should be known, are they "
        "written alike in both columns?"
    )
    return [Finding(fields.history, sentence)]


def told_of_lists(
    table: ClickTable, fields: Fields, encoded: Encoded, part: NDArray[np.int8]
) -> list[Finding]:
    """Each list that holds a row's own category, such as its item, in clicks above all."""
    told = []
    for listed, single, found in _pairs(encoded):
        for each in _shares(encoded, part, found):
            if each.apart:
                sentence = (
                    f"{table.info['name']}: the row's own '{single}' stands in its '{listed}' in "
                    f"{each.click:.1%} of the clicks of {each.part} and in {each.other:.1%} of its "
                    f"other rows. If '{listed}' was made with the row itself or later ones, it "
                    "holds the answer: take it out of data.fields.multi_valued, or have histories "
                    "made of the log, data.fields.past=clicks."
                )
                told.append(Finding(listed, sentence))
    return told


def _shares(encoded: Encoded, part: NDArray[np.int8], found: Bools) -> Iterator[_Shares]:
    """Of each part with enough rows of either class."""
    clicked = np.asarray(encoded.label).reshape(len(part), -1)[:, 0] == 1
    for place, name in enumerate(PARTS):
        rows = [np.flatnonzero((part == place) & (clicked == click)) for click in (True, False)]
        if min(map(len, rows)) >= _LEAST:
            click, other = (float(found[each].mean()) for each in rows)
            yield _Shares(name, click, other, np.concatenate(rows))


def _own_items(fields: Fields, encoded: Encoded) -> tuple[Bools, Bools, Bools]:
    """Which rows have their own item in what is read of their history, and at which end of it.

    Returns three times bool [N]: anywhere, first and last.
    """
    past, item = encoded.past, items_shown(encoded)
    assert past is not None
    found, first, last = np.zeros((3, len(item)), dtype=bool)
    for start in range(0, len(item), BLOCK):
        own = item[start : start + BLOCK]
        end = np.asarray(past.end[start : start + BLOCK])
        begin = np.maximum(past.start[start : start + BLOCK], end - fields.history_max_len)
        length = end - begin
        row = np.repeat(np.arange(len(own)), length)
        at = np.arange(len(row)) + np.repeat(begin - (np.cumsum(length) - length), length)
        found[start + row[past.items[at] == own[row]]] = True
        there = np.flatnonzero(length)
        first[start + there] = past.items[begin[there]] == own[there]
        last[start + there] = past.items[end[there] - 1] == own[there]
    return found, first, last


def _pairs(encoded: Encoded) -> Iterator[tuple[str, str, Bools]]:
    """Each list and each category of which training knows the same values, and which rows have
    theirs in it: bool [N].
    """
    place, places = 0, {}
    for field in encoded.schema.fields:
        places[field.name] = place
        place += field.width
    for of in encoded.schema.of("multi_valued"):
        for one in encoded.schema.of("categorical"):
            alike = _alike(encoded, of, one)
            if not alike.any():
                continue
            found = np.zeros(len(encoded.label), dtype=bool)
            for start in range(0, len(found), BLOCK):
                ids = np.asarray(encoded.ids[start : start + BLOCK])
                listed = ids[:, places[of.name] : places[of.name] + of.width] - of.start
                own = ids[:, places[one.name]]
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
