"""Histories of rows: given in a column, or made of the log, as slices of one flat array."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.processor import FeatureProcessor, places
from lightning_rec.data.clicks.splits import SplitAssignment, times
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Floats, Ints


class Past(NamedTuple):
    """What happened before each row.

    items: int32 [S], codes: 0 for the first known category of the item field.
    start, end: int64 [N]; the history of row ``i`` is ``items[start[i]:end[i]]``, oldest first.
    rows: int64 [S], the row of the table that an item is of; None where a column gave the items.
    """

    items: NDArray[np.int32]
    start: Ints
    end: Ints
    rows: Ints | None


def past_of(
    table: ClickTable,
    processor: FeatureProcessor,
    assigned: SplitAssignment,
    ids: NDArray[np.int32],
    label: NDArray[np.float32],
    group: NDArray[np.int32] | None,
) -> tuple[Past, int]:
    """The histories that the fields declare, and how many items were left out as unknown. ids:
    int32 [N, I]; label: float32 [N], of the first goal; group: int32 [N], -1 for none.
    """
    fields, schema = processor.fields, processor.schema
    place = schema.place(str(fields.item))  # categories have one column of ids each, and come first
    first = schema.fields[place].start + 1
    if (name := fields.history) is not None:
        blocks = [given_histories(processor, frame[name]) for _, frame in table.blocks(name)]
        pasts, unknown = zip(*blocks, strict=True)
        end = np.cumsum(np.concatenate([past.end - past.start for past in pasts]))
        items = np.concatenate([past.items for past in pasts])
        return Past(items, np.append(0, end[:-1]), end, None), sum(unknown)
    assert group is not None
    eligible = (group >= 0) & ((label == 1) | (fields.past == "rows"))
    known = processor.vocabulary.filter(pl.col("field") == fields.item)
    empty = known.filter(pl.col("value").is_null())["id"].to_numpy()
    item = np.asarray(ids[:, place])
    code = np.where(eligible & ~np.isin(item, empty), item - first, -1)
    past = _derived(group, times(table, fields), code, assigned)
    return past, int((eligible & (code < 0)).sum())


def given_histories(processor: FeatureProcessor, column: pl.Series) -> tuple[Past, int]:
    """The latest known items of each list of a column, and the number of unknown items."""
    fields, schema = processor.fields, processor.schema
    item = schema.fields[schema.place(str(fields.item))]
    lists = columns.sequences(column, fields.parted_by(column.name))
    row, _ = places(lists)
    flat = lists.explode(empty_as_null=False, keep_nulls=False)
    code = processor.looked_up(item, flat) - (item.start + 1)
    known = code >= 0
    unknown, row, code = int((~known).sum()), row[known], code[known]
    number = np.bincount(row, minlength=len(lists))
    latest = np.cumsum(number)[row] - np.arange(len(row)) <= fields.history_max_len
    end = np.cumsum(np.minimum(number, fields.history_max_len))
    return Past(code[latest].astype(np.int32), np.append(0, end[:-1]), end, None), unknown


def _derived(
    group: NDArray[np.int32],
    time: Floats,
    code: NDArray[np.int32],
    assigned: SplitAssignment,
) -> Past:
    """Slices of the sequences of groups: rows with a code, strictly earlier in time. In a split
    that is not one in time each part has sequences of its own, without what is held out. Rows of no
    part have no history, and stand in none.
    """
    moment = np.unique(time, return_inverse=True)[1].astype(np.int64)
    moments = int(moment.max()) + 1
    key = group.astype(np.int64) * moments + moment  # by group, then by time
    start, end = np.zeros((2, len(key)), dtype=np.int64)
    sequences: list[Ints] = []
    parts = range(len(PARTS)) if assigned.boundaries is None else (None,)
    before = 0
    for part in parts:
        chosen = (code >= 0) & (assigned.part >= 0)
        if part is not None:
            chosen &= assigned.part <= part
        event = np.flatnonzero(chosen)
        event = event[np.argsort(key[event], kind="stable")]  # ties in the order of the source
        mine = (group >= 0) & (assigned.part >= 0 if part is None else assigned.part == part)
        first = group[mine].astype(np.int64) * moments
        start[mine] = before + np.searchsorted(key[event], first)
        end[mine] = before + np.searchsorted(key[event], key[mine])
        sequences.append(event)
        before += len(event)
    rows = np.concatenate(sequences)
    return Past(code[rows].astype(np.int32), start, end, rows)
