"""Histories that a model of sequences is asked with: codes, and what it reads of their events."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.side import Columns, of_times
from lightning_rec.data.types import Ints
from lightning_rec.predict.asking import Asked
from lightning_rec.predict.batches import sent
from lightning_rec.predict.histories import seconds_of
from lightning_rec.serving.events import Event, frame_of


class History(NamedTuple):
    """Codes of known items, oldest first, and of the user, -1 for somebody new.

    times: int64 [L] seconds, where they are known.  events: int32 [L, F], what columns say, as
    :class:`Columns` has them, where they are known.  lacks: columns of these that were not said.
    """

    codes: Sequence[int]
    user: int
    times: Ints | None = None
    events: NDArray[np.int32] | None = None
    lacks: tuple[str, ...] = ()

    @property
    def kind(self) -> tuple[bool, bool]:
        """Histories of one kind can be answered together."""
        return self.times is not None, self.events is not None

    def then(self, codes: Sequence[int], done: Sequence[Event], columns: Columns) -> "History":
        """With later events that have times, whose items have these ``codes``; ``columns``: what
        the model reads of events. What is not known of the earlier ones is left out of all.
        """
        if not codes:
            return self
        late = seconds_of(pl.Series([each.time for each in done], dtype=pl.Float64)).to_numpy()
        times, rows, lacks = None, None, self.lacks
        before = np.zeros(0, dtype=np.int64) if not self.codes else self.times
        if before is not None:
            times = np.concatenate([before, late])
        if columns and (self.events is not None or not self.codes):
            said = frame_of(done).drop("user", "item", "time")
            whole = late if times is None else times
            made = of_times(whole, np.array([0, len(whole)]))[-len(late) :]
            derived = [made[name] for name in made.columns if name not in said.columns]
            said = pl.DataFrame([*said, *derived])
            rows = columns.rows(said)
            lacks += tuple(sent([x for x in columns.names if x not in said.columns]))
            if self.events is not None:
                rows = np.concatenate([self.events, rows])
        whole_codes = [*self.codes, *codes]
        return self._replace(codes=whole_codes, times=times, events=rows, lacks=lacks)


def together(histories: Sequence[History], key: pl.Series | None = None) -> Asked:
    """Histories of one kind as one question; ``key``: their names, else their numbers."""
    if key is None:
        key = pl.Series("row", np.arange(len(histories), dtype=np.uint32))
    offsets = np.zeros(len(histories) + 1, dtype=np.int64)
    np.cumsum([len(each.codes) for each in histories], out=offsets[1:])
    items = np.fromiter((code for each in histories for code in each.codes), np.int32, offsets[-1])
    user = np.array([each.user for each in histories], dtype=np.int64)
    times = [each.times for each in histories if each.times is not None]
    events = [each.events for each in histories if each.events is not None]
    return Asked(
        key,
        items,
        offsets,
        user,
        np.concatenate(times) if times else None,
        None,
        np.concatenate(events) if events else None,
    )
