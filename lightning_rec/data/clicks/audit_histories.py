"""The leak audit of histories: nothing in them may have happened at the row's time or after it."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.audit_fields import fail
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.histories import Past
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.clicks.table import BLOCK, ClickTable
from lightning_rec.errors import UserError

Ints = NDArray[np.int64]


def audit_histories(
    table: ClickTable, fields: Fields, encoded: Encoded, part: NDArray[np.int8]
) -> None:
    """Check histories against the rows, whose ids were checked before.

    Args:
        table: the rows.
        fields: what the columns mean.
        encoded: the arrays.
        part: int8 [N], the part of each row, -1 for none.

    Raises:
        LeakError: where a history that was made here holds what it must not.
        UserError: where a history that was given holds an item that its group meets only later.
    """
    past = encoded.past
    if past is None:
        return
    start, end = np.asarray(past.start), np.asarray(past.end)
    fail("a history is no slice of all items", (start > end) | (end > len(past.items)))
    if past.rows is None:
        _check_given(table, fields, encoded, past)
    else:
        _check_made(table, fields, encoded, part)


def _check_made(
    table: ClickTable, fields: Fields, encoded: Encoded, part: NDArray[np.int8]
) -> None:
    """Each item must be that of its row, a click if it should be, earlier, and not held out."""
    past, group, time = encoded.past, encoded.group, times(table, fields)
    assert past is not None
    assert past.rows is not None
    assert group is not None
    rows, group = np.asarray(past.rows), np.asarray(group)
    if fields.past == "clicks":
        clicked = np.asarray(encoded.label).reshape(len(group), -1)[:, 0]
        fail("an item of a history is of no click", clicked[rows] != 1)
    wrong = items_shown(encoded)[rows] != np.asarray(past.items)
    fail("an item of a history is not that of its row", wrong)
    there = np.flatnonzero(np.asarray(past.end) > np.asarray(past.start))
    first, last = np.asarray(past.start)[there], np.asarray(past.end)[there] - 1
    steps = np.zeros(len(rows) + 1, dtype=np.int64)  # histories that go on to the next item
    np.add.at(steps, first, 1)
    np.add.at(steps, last, -1)
    on = np.cumsum(steps)[: max(0, len(rows) - 1)] > 0
    fail("a history holds two groups", on & (group[rows[:-1]] != group[rows[1:]]))
    fail("a history is not in the order of time", on & (time[rows[:-1]] > time[rows[1:]]))
    # Items of a history are of one group in time order, so the last one stands for all of them.
    fail("a history belongs to another group", group[rows[last]] != group[there])
    fail("a history holds its own row or a later one", time[rows[last]] >= time[there])
    held = _highest(part[rows], first, last) > part[there]
    fail("a history holds the label of a row that is held out", held)


def _highest(values: NDArray[np.int8], first: Ints, last: Ints) -> Ints:
    """The largest of ``values[first[i] : last[i] + 1]``, of few values, for all i at once."""
    found = np.full(len(first), -1)
    for value in np.unique(values):
        before = np.append(0, np.cumsum(values == value))
        found[before[last + 1] > before[first]] = value
    return found


def _check_given(table: ClickTable, fields: Fields, encoded: Encoded, past: Past) -> None:
    """Where times are known, what a group meets in later rows alone cannot be in its past."""
    if fields.time is None or encoded.group is None:
        return
    order = np.argsort(times(table, fields), kind="stable")
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))  # by time, then as in the source
    group = np.asarray(encoded.group)
    log = pl.DataFrame({"group": group, "item": items_shown(encoded), "turn": turn})
    first = log.group_by("group", "item").agg(pl.col("turn").min().alias("first"))
    for start in range(0, len(turn), BLOCK):
        begin, end = (np.asarray(each[start : start + BLOCK]) for each in (past.start, past.end))
        row = start + np.repeat(np.arange(len(begin)), end - begin)
        item = np.asarray(past.items[begin[0] : end[-1]])
        held = pl.DataFrame({"row": row, "group": group[row], "item": item, "turn": turn[row]})
        late = held.join(first, on=["group", "item"]).filter(pl.col("first") >= pl.col("turn"))
        if len(late):
            _refuse(table, fields, encoded, late.sort("row"))


def _refuse(table: ClickTable, fields: Fields, encoded: Encoded, late: pl.DataFrame) -> None:
    known = encoded.vocabulary.filter(pl.col("field") == fields.item).sort("id")["value"]
    raise UserError(
        f"{table.info['name']}, row {late['row'][0] + 1}: its history in column "
        f"'{fields.history}' holds '{known[late['item'][0]]}', which its '{fields.group}' first "
        f"meets there or later ({len(late):,} such items). Mend the column, or have histories made "
        "of the log: data.fields.history=null data.fields.past=clicks."
    )


def items_shown(encoded: Encoded) -> NDArray[np.int32]:
    """The item of each row, as histories have it: int32 [N], -1 for an unknown one."""
    schema = encoded.schema
    place = schema.place(str(schema.item))
    found: NDArray[np.int32] = np.asarray(encoded.ids[:, place]) - (schema.fields[place].start + 1)
    return found
