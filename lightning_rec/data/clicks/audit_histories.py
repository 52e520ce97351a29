"""The leak audit of histories: nothing in them may have happened at the row's time or after it."""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.histories import Past
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.clicks.table import BLOCK
from lightning_rec.data.core.audited import Finding, fail
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Ints


def audit_histories(at: Evidence) -> Iterator[Finding]:
    """Check histories against the rows: what given ones hold that its group meets only later.
    Raises LeakError where a history that was made here is wrong.
    """
    past = at.encoded.past
    if past is None:
        return
    start, end = np.asarray(past.start), np.asarray(past.end)
    fail("a history is no slice of all items", (start > end) | (end > len(past.items)))
    if past.rows is None:
        yield from _told_of_given(at, past)
    else:
        _check_made(at, past, np.asarray(past.rows))


def _check_made(at: Evidence, past: Past, rows: Ints) -> None:
    """Each item must be that of its row, a click if it should be, earlier, and not held out."""
    time, group = times(at.table, at.fields), np.asarray(at.encoded.group)
    if at.fields.past == "clicks":
        fail("an item of a history is of no click", at.labels()[rows, 0] != 1)
    wrong = at.items_shown()[rows] != np.asarray(past.items)
    fail("an item of a history is not that of its row", wrong)
    filled = np.flatnonzero(np.asarray(past.end) > np.asarray(past.start))
    first, last = np.asarray(past.start)[filled], np.asarray(past.end)[filled] - 1
    steps = np.zeros(len(rows) + 1, dtype=np.int64)  # histories that go on to the next item
    np.add.at(steps, first, 1)
    np.add.at(steps, last, -1)
    on = np.cumsum(steps)[: max(0, len(rows) - 1)] > 0
    fail("a history holds two groups", on & (group[rows[:-1]] != group[rows[1:]]))
    fail("a history is not in the order of time", on & (time[rows[:-1]] > time[rows[1:]]))
    # Items of a history are of one group in time order, so the last one stands for all of them.
    fail("a history belongs to another group", group[rows[last]] != group[filled])
    fail("a history holds its own row or a later one", time[rows[last]] >= time[filled])
    held = _highest(at.part[rows], first, last) > at.part[filled]
    fail("a history holds the label of a row that is held out", held)


def _highest(values: NDArray[np.int8], first: Ints, last: Ints) -> Ints:
    """The largest of ``values[first[i] : last[i] + 1]``, of few values, for all i at once."""
    found = np.full(len(first), -1)
    for value in np.unique(values):
        before = np.append(0, np.cumsum(values == value))
        found[before[last + 1] > before[first]] = value
    return found


def _told_of_given(at: Evidence, past: Past) -> Iterator[Finding]:
    """Where times are known, what a group meets in later rows alone cannot be in its past."""
    if at.fields.time is None or at.encoded.group is None:
        return
    order = np.argsort(times(at.table, at.fields), kind="stable")
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))  # by time, then as in the source
    group = np.asarray(at.encoded.group)
    log = pl.DataFrame({"group": group, "item": at.items_shown(), "turn": turn})
    first = log.group_by("group", "item").agg(pl.col("turn").min().alias("first"))
    count = 0
    earliest: dict[str, int] | None = None
    for start in range(0, len(turn), BLOCK):
        begin, end = (np.asarray(each[start : start + BLOCK]) for each in (past.start, past.end))
        owner, place = ranges(begin, end)
        row, item = start + owner, past.items[place]
        held = pl.DataFrame({"row": row, "group": group[row], "item": item, "turn": turn[row]})
        late = held.join(first, on=["group", "item"]).filter(pl.col("first") >= pl.col("turn"))
        count += len(late)
        if len(late) and earliest is None:
            earliest = late.sort("row").row(0, named=True)
    if earliest is not None:
        fields, vocabulary = at.fields, at.encoded.vocabulary
        known = vocabulary.filter(pl.col("field") == fields.item).sort("id")["value"]
        yield Finding(
            str(fields.history),
            f"{at.table.info['name']}, row {earliest['row'] + 1}: its history in column "
            f"'{fields.history}' holds '{known[earliest['item']]}', which its '{fields.group}' "
            f"first meets there or later ({count:,} such items), as one of another log may. Mend "
            "the column, or have histories made of the log: data.fields.history=null "
            "data.fields.past=clicks.",
            refused=True,
        )
