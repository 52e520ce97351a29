"""Whether the rows that a run of clicks has learnt are still what they were: hashes by time.

A run keeps a sum of hashes for each of a thousand stretches of the time that it has learnt, in
whichever order its rows came. As many rows with another sum are others than they were.
"""

import logging
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.chance import Words, bits
from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.labels import grouped
from lightning_rec.data.clicks.pipeline import AuditedClicks
from lightning_rec.data.clicks.processor import words_of
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.types import Floats
from lightning_rec.errors import UserError
from lightning_rec.problems.updating import FEW
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

LEARNT = "learnt"
STRETCHES = 1024
SCHEMA = {"since": pl.Float64, "rows": pl.Int64, "hash": pl.UInt64}


class Changed(NamedTuple):
    """Stretches whose rows are not what they were: ``other`` of ``stretches``, the ``first`` and
    the ``last`` of them beginning then, with ``rows`` rows now.
    """

    other: int
    stretches: int
    rows: int
    first: float
    last: float


def learnt_of(loaded: AuditedClicks, fields: Fields, time: Floats) -> pl.DataFrame:
    """``since``, when a stretch of the training begins, how many ``rows`` it has, and their
    ``hash``, the sum over them of those of all features and labels.
    """
    at = loaded.data.encoded.part("train")
    starts = np.unique(np.quantile(time[at], np.linspace(0, 1, STRETCHES + 1)[:-1], method="lower"))
    counts, sums = _summed(starts, time[at], row_words(loaded, fields)[at])
    return pl.DataFrame({"since": starts, "rows": counts, "hash": sums}, schema=SCHEMA)


def tables_of(loaded: AuditedClicks, fields: Fields) -> dict[str, pl.DataFrame]:
    """:func:`learnt_of` by its name, where another run may go on: its test is later than it."""
    if fields.time is None:
        return {}
    time, encoded = times(loaded.data.table, fields), loaded.data.encoded
    if not time[encoded.part("train")].max() < time[encoded.part("test")].min():
        return {}
    return {LEARNT: learnt_of(loaded, fields, time)}


def check_unchanged(
    run: RunFolder, loaded: AuditedClicks, fields: Fields, time: Floats, until: float
) -> None:
    """Tell of learnt rows that are not what they were. Raises UserError if most are not."""
    found = changed_of(run, loaded, fields, time, until)
    if found is None:
        log.warning(
            "%s does not say what its rows were, as it was made by an earlier version: labels and "
            "features that have changed since are not noticed.", run.path,
        )  # fmt: skip
    elif found.other:
        told = (
            f"{run.path} has learnt rows that are not what they were: in {found.other:,} of "
            f"{found.stretches:,} stretches of its time, {found.rows:,} rows of now, labels or "
            f"features have changed, or rows are gone (the first in that from "
            f"{fields.time}={found.first:.17g} on)"
        )
        if found.other > FEW * found.stretches:
            raise UserError(f"{told}: train anew, or give the log that it was trained on.")
        log.warning(
            "%s. They count as learnt: of those only method.replay= of them are trained on again. "
            "Where that matters, train anew.", told,
        )  # fmt: skip


def changed_of(
    run: RunFolder, loaded: AuditedClicks, fields: Fields, time: Floats, until: float
) -> Changed | None:
    """What of the rows that ``run`` has learnt, ``until`` then, is not as it was. None where the
    run does not say, as earlier versions do not. Rows that came late hide changes of their stretch.

    Raises UserError if the table of the run is broken.
    """
    if not (run.path / f"{LEARNT}.parquet").is_file():
        return None
    table = run.table(LEARNT)
    since = table["since"].to_numpy() if dict(table.schema) == SCHEMA else np.zeros(0)
    if not len(since) or any(table.null_count().row(0)) or not (np.diff(since) > 0).all():
        raise UserError(f"{run.path / LEARNT}.parquet is not as a run writes it: train it again.")
    inside = (time >= since[0]) & (time <= until) & grouped(loaded, fields)
    counts, sums = _summed(since, time[inside], row_words(loaded, fields)[inside])
    then, before = table["rows"].to_numpy(), table["hash"].to_numpy()
    other = (counts < then) | ((counts == then) & (sums != before))
    at = since[other] if other.any() else since[:1]
    return Changed(int(other.sum()), len(since), int(counts[other].sum()), at[0], at[-1])


def row_words(loaded: AuditedClicks, fields: Fields) -> Words:
    """A hash of the features and labels of each row, uint64 [N], the same in every version of any
    library; of numbers by their value, of others by their text.
    """
    names = [*fields.features, *filter(None, [fields.history])]
    label = np.asarray(loaded.data.encoded.label)
    labels = label.reshape(len(label), -1)
    found = np.zeros(len(label), dtype=np.uint64)
    for start, frame in loaded.data.table.blocks(*names):
        rows = slice(start, start + len(frame))
        of = [_of_column(frame[name], fields) for name in names]
        of += [_of_numbers(column.astype(np.float64)) for column in labels[rows].T]
        for words in of:
            found[rows] = bits(found[rows] ^ words, np.zeros(1, dtype=np.int64))
    return found


def _of_column(column: pl.Series, fields: Fields) -> Words:
    if column.name in fields.numeric:
        return _of_numbers(columns.numbers(column))
    if column.name in (*fields.multi_valued, fields.history):
        texts = columns.sequences(column, fields.parted_by(column.name)).list.join("\x1f")
    else:
        texts = columns.text(column)
    row = texts.to_frame("text")
    known = row.unique(maintain_order=True)
    words = known.with_columns(word=pl.Series(words_of(known["text"])))
    joined = row.join(words, "text", "left", nulls_equal=True, maintain_order="left")
    return joined["word"].to_numpy()


def _of_numbers(values: Floats) -> Words:
    """0.0 and -0.0 are one, and so is whatever is no number."""
    one = np.where(np.isnan(values), np.nan, values + 0.0)
    return bits(np.ascontiguousarray(one).view(np.uint64), np.zeros(1, dtype=np.int64))


def _summed(starts: Floats, time: Floats, words: Words) -> tuple[NDArray[Any], Words]:
    """How many rows begin at or after each start and before the next, and the sum of their words,
    which wraps around.
    """
    place = np.searchsorted(starts, time, side="right") - 1
    sums = np.zeros(len(starts), dtype=np.uint64)
    np.add.at(sums, place, words)
    return np.bincount(place, minlength=len(starts)), sums
