"""Fractions of seconds count as seconds do: a log whose clock runs a thousand times slower splits alike."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lightning_rec.data.audit import audit
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.models.classic.vsknn import VSKNN

START = 1_600_000_000
PROTOCOLS: list[Callable[[float], Any]] = [
    lambda second: LeaveOneOut(cutoffs=(1,), seen="keep"),
    lambda second: LeaveOneOut(cutoffs=(1,), seen="keep", drop_doubled=True),
    lambda second: Temporal(cutoffs=(1,), targets="all", new_users=True, seen="keep"),
    lambda second: Temporal(cutoffs=(1,), nested=True, targets="all", new_users=True, seen="keep"),
    lambda second: Sessions(cutoffs=(1,), gap=300 * second, val_from=0.6, test_from=0.8),
]


def log(second: float) -> dict[str, list[Any]]:
    """Visits of nine users to six items, some events twice; shuffled. A second lasts ``second``."""
    chance, rows = random.Random(3), []
    for user in range(9):
        tick = chance.randrange(4_000)
        for _ in range(30):
            item = chance.randrange(6)
            rows += [(f"u{user}", f"i{item}", tick)] * chance.choice([1, 1, 1, 2])
            tick += chance.choice([7, 40, 120, 300, 301, 900])
    rows.sort(key=lambda row: (row[2], row[0]))
    user, item, ticks = map(list, zip(*rows, strict=True))  # type: ignore[assignment]
    if second == 1:
        return {"user": user, "item": item, "time": [START + tick for tick in ticks]}  # type: ignore[dict-item]
    return {"user": user, "item": item, "time": [START * 1000 + tick for tick in ticks]}  # type: ignore[dict-item]


@pytest.mark.parametrize("number", range(len(PROTOCOLS)))
def test_a_log_in_milliseconds_splits_as_in_seconds(
    number: int, prepared: Callable[..., Interactions]
) -> None:
    found: list[Split] = []
    for second in (1, 0.001):
        protocol = PROTOCOLS[number](second)
        data = protocol.view(prepared(**log(second)))
        columns = set(data.events.collect_schema().names())
        assert ("fraction" in columns) == (second < 1)
        found.append(protocol.split(data))
        audit(data, found[-1])
    seconds, fractions = found
    assert seconds.test.size
    assert seconds.counts == fractions.counts
    assert seconds.counts["doubled rows"] == 0 or number != 1
    for name in ("items", "offsets", "rows", "train_end", "vocabulary"):
        assert np.array_equal(getattr(seconds, name), getattr(fractions, name)), name
    for one, other in zip(
        (*seconds.val, *seconds.test), (*fractions.val, *fractions.test), strict=True
    ):
        assert np.array_equal(one, other)
    remembered = []
    for split in found:
        model = VSKNN(Schema(split.num_items, 20, split.num_users))
        model.fit(split)  # in the order in which sessions end
        remembered.append(model.held.scipy().toarray())
    assert np.array_equal(*remembered)


def test_times_that_differ_in_fractions_alone_are_other_data(
    prepared: Callable[..., Interactions],
) -> None:
    columns = log(0.001)
    hashes = {prepared(**columns).info["data_hash"]}
    columns["time"] = [time // 1000 * 1000 for time in columns["time"]]
    assert prepared(**columns).info["data_hash"] not in hashes
    columns["time"] = [time // 1000 for time in columns["time"]]
    hashes |= {prepared(**columns).info["data_hash"]}
    assert len(hashes) == 2
