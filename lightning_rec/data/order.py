"""Whether the order of a user's events is that of time, or only that of the rows of a file."""

import time as clock
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.repeats import TOLD_FROM
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Split
from lightning_rec.data.statistics import day

FIRST_SHOP = int(datetime(1995, 1, 1, tzinfo=timezone.utc).timestamp())
UNTIMED_FROM = 0.9  # share of steps between equal times above which times give no order
SORTED_FROM = 0.95  # share of steps in one direction above which rows are sorted
FEWEST_STEPS = 20  # that this can be told from
REMEDY = (
    "Name the times, data.time=COLUMN, or leave order out: protocol=random_items, with a model of "
    "users and items, such as model=itemknn, ease or bprmf."
)


class Ordering(NamedTuple):
    """What was found: ``facts`` for the card, and ``notes``, in sentences, for the user."""

    facts: dict[str, Any]
    notes: tuple[str, ...] = ()


def ordering(data: Interactions, split: Split, *, known: bool) -> Ordering:
    """Look at each step from one event of a user to the next, where times do not say which is next.

    Args:
        data: the prepared data.
        split: its split.
        known: whether the source vouches for the order of its rows.
    """
    if split.order == "none":
        return Ordering({})
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    steps = owner[1:] == owner[:-1]
    untimed = steps.copy()
    if split.times is not None:
        untimed &= np.diff(split.times) == 0
    share = float(untimed.sum() / max(1, steps.sum()))
    facts = {"share of steps whose order times do not tell": round(share, 4)}
    if known or share <= UNTIMED_FROM:
        return Ordering(facts)
    why = "This data has no times"
    if split.times is not None:
        why = f"{share:.1%} of the steps within users lie between equal times"
    told = f"{why}, so that the order of the rows is taken as the order of time. {REMEDY}"
    rows = np.asarray(split.rows)
    sorted_ = (_sorted(what, values, untimed) for what, values in _columns(data, rows))
    return Ordering(facts, (told, *(note for note in sorted_ if note)))


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


def _columns(data: Interactions, rows: NDArray[np.int64]) -> list[tuple[str, NDArray[Any]]]:
    """What rows may be sorted by, and its values in the order of ``rows``."""
    events = data.events
    rated = ["rating"] if "rating" in events.collect_schema() else []
    table = events.select("item", *rated).collect()
    item = table["item"].to_numpy()[rows]
    ids = data.items["item"]
    numbers = ids.cast(pl.Float64, strict=False)
    place = (ids if numbers.null_count() else numbers).rank("dense").to_numpy()
    columns = [
        ("the popularity of items", np.bincount(item)[item]),
        ("the ids of items", place[item]),
    ]
    return [(f"data.{name}", table[name].to_numpy()[rows]) for name in rated] + columns


def _sorted(what: str, values: NDArray[Any], steps: NDArray[np.bool_]) -> str:
    """A sentence if the values fall, or rise, at nearly all of these steps; else nothing."""
    falls, rises = (
        int((steps & (first > second)).sum())
        for first, second in ((values[:-1], values[1:]), (values[1:], values[:-1]))
    )
    moves, most = falls + rises, max(falls, rises)
    if moves < FEWEST_STEPS or most < SORTED_FROM * moves:
        return ""
    way = "falls" if falls > rises else "rises"
    return (
        f"The rows of users are sorted by {what}, which {way} in {most / moves:.1%} of the steps. "
        "That is no order of time: what is tested on is what comes last in it, such as a user's "
        f"least played. {REMEDY}"
    )
