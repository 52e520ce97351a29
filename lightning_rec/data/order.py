"""Whether the order of a user's events is that of time, or only that of the rows of a file."""

import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.repeats import TOLD_FROM
from lightning_rec.data.schema import TIMED, Interactions, times
from lightning_rec.data.split import Split
from lightning_rec.data.statistics import day
from lightning_rec.data.ties import SHUFFLE, TIED_FROM, Ties, looked_at, sortings
from lightning_rec.data.types import Mask

FIRST_SHOP = int(datetime(1995, 1, 1, tzinfo=UTC).timestamp())
UNTIMED_FROM = 0.9  # share of steps between equal times above which times give no order
_NO_ORDER = (
    "leave order out: protocol=random_items, with a model of users and items, such as "
    "model=itemknn, ease or bprmf."
)
NAME_TIMES = f"Name the times, data.time=COLUMN, or {_NO_ORDER}"
SHUFFLE_TIES = f"{SHUFFLE}, give finer times, or {_NO_ORDER}"


class Ordering(NamedTuple):
    """What was found: ``facts`` for the card, and ``notes``, in sentences, for the user."""

    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def ordering(
    data: Interactions, split: Split, *, known: bool, ties: Ties | None = None
) -> Ordering:
    """Look at each step from one event of a user to the next that times do not order. ``known``:
    whether the source vouches for the order of its rows; ``ties``: what it makes of equal times.
    """
    if split.order == "none":
        return Ordering({})
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    steps = owner[1:] == owner[:-1]
    untimed = steps.copy()
    if split.times is not None:
        untimed &= np.diff(split.times) == 0
    share = float(untimed.sum() / max(1, steps.sum()))
    tied, facts = 0.0, {"share of steps whose order times do not tell": round(share, 4)}
    if split.times is not None:
        columns = [name for name in TIMED if name in data.events.collect_schema()]
        time = times(data.events.select(columns).collect())
        assert time is not None
        same = time[split.test.row] == time[np.asarray(split.rows)[split.test.end - 1]]
        tied = float(same.mean()) if len(same) else 0.0
        facts["share of test targets at the moment of the event before"] = round(tied, 4)
    if ties == "shuffle" or (known and split.times is None):
        return Ordering(facts)
    remedy = SHUFFLE_TIES if split.times is not None and ties is not None else NAME_TIMES
    notes = []
    if not known and share > UNTIMED_FROM:
        why = "This data has no times"
        if split.times is not None:
            why = f"{share:.1%} of the steps within users lie between equal times"
        notes.append(f"{why}, so that the order of the rows is taken as the order of time.")
    elif not known and ties is not None and tied > TIED_FROM:
        notes.append(
            f"{tied:.1%} of the test targets happened at the same moment as the event before them: "
            "which of them comes last is the order of the rows."
        )
    if looked_at(int(untimed.sum()), share):
        notes += _sorted(data, split, untimed)
    return Ordering(facts, tuple(f"{note} {remedy}" for note in notes))


def implausible(time: NDArray[Any]) -> Iterator[str]:
    """A sentence where many times, [N] seconds since 1970, lie where those of hardly a log do."""
    for words, odd in (("before 1995", time < FIRST_SHOP), ("in the future", time > clock.time())):
        if (count := int(odd.sum())) > TOLD_FROM * len(time):
            yield (
                f"{count:,} of {len(time):,} times lie {words}, the first of them on "
                f"{day(int(time[odd][0]))}: is the unit right? Numbers are read as seconds to "
                "nanoseconds since 1970. Say data.time_unit for another one of these, and "
                "data.time_format for dates that are written as numbers."
            )


def _sorted(data: Interactions, split: Split, steps: Mask) -> list[str]:
    """What the rows of users are sorted by at these steps, a sentence each."""
    events, rows = data.events, np.asarray(split.rows)
    rated = [name for name in ("rating",) if name in events.collect_schema()]
    table = events.select("item", *rated).collect()
    more = {f"data.{name}": table[name].to_numpy()[rows] for name in rated}
    item, timed = table["item"].to_numpy()[rows], split.times is not None
    return sortings(item, data.items["item"], steps, more, timed=timed)
