"""Events of one user at one moment: what their rows are sorted by, and an order that says nothing.

As in an export of baskets, whose times are days: which event of a moment comes last, and is tested
on, is then the order of the file. Where that is sorted, a model can tell it.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.chance import bits
from lightning_rec.data.schema import TIMED
from lightning_rec.data.types import Ints, Mask

Ties = Literal["file", "shuffle"]

SHUFFLE = (
    "Say data.ties=shuffle (the events of one moment in an order that says nothing, by a hash of "
    "their ids)"
)
LOOKED_FROM = 0.03  # share of steps within a moment from which they are looked at, or this many:
MANY_STEPS = 300
TIED_FROM = 0.1  # share of events, or of test targets, at the moment of another one that is told
SORTED_FROM = 0.95  # share of steps in one direction above which rows are sorted
FEWEST_STEPS = 20  # that this can be told from
_NO_TIME = (
    "That is no order of time: what is tested on is what comes last in it, such as a user's least "
    "played, and a model can tell which that is."
)


def looked_at(steps: int, share: float) -> bool:
    """Whether so many steps that no time orders, and this share of all, are worth a look."""
    return steps >= MANY_STEPS or share >= LOOKED_FROM


def sortings(
    item: NDArray[Any],
    ids: pl.Series,
    steps: Mask,
    more: Mapping[str, NDArray[Any]],
    *,
    timed: bool,
) -> list[str]:
    """One sentence for each thing that rows are sorted by at nearly all of these steps, bool [N -
    1], from an event to the next. ``item``: codes of the events, [N]; ``ids`` of each code;
    ``more``: further values of the events; ``timed``: whether the steps lie between equal times.
    """
    item = item.astype(np.int64)
    columns = {what: [values] for what, values in more.items()}
    columns["the popularity of items"] = [np.bincount(item)[item]]
    numbers = ids.cast(pl.Float64, strict=False)
    ways = ([] if numbers.null_count() else [numbers]) + [ids.rank("dense")]  # 9 before 10, or not
    columns["the ids of items"] = [way.to_numpy()[item] for way in ways]
    told = []
    for what, ways_ in columns.items():
        found = (_sorted(what, values, steps) for values in ways_)
        told += [note for note in found if note][:1]
    # Any other order of items, as that of their names or shelves, shows in pairs that come again.
    # In a log without times these may be the parts of a series.
    return told or (_in_one_order(item, steps) if timed else [])


def shuffled(events: pl.LazyFrame, moment: str) -> pl.LazyFrame:
    """The events by time (column ``moment``) and user; those alike in both by a hash of the places
    of all three ids, in which the order of the rows plays no part.
    """
    frame = events.collect(engine="streaming")
    user, time, item = (
        frame[name].rank("dense").cast(pl.Int64).to_numpy() - 1 for name in ("user", moment, "item")
    )
    word = pl.Series("word", bits(bits(bits(0, user), time), item))
    rest = [name for name in ("rating",) if name in frame.columns]
    return frame.with_columns(word).sort(moment, "user", "word", "item", *rest).drop("word").lazy()


def tied(events: pl.LazyFrame, share: float) -> tuple[bool, list[str]]:
    """What is to be said of events of one moment, a ``share`` of all, and whether to shuffle."""
    timed = [name for name in TIMED if name in events.collect_schema()]
    rated = [name for name in ("rating",) if name in events.collect_schema()]
    frame = events.select("user", "item", *timed, *rated).collect(engine="streaming")
    frame = frame.sort("user", *timed, maintain_order=True)
    own = (pl.col("user") == pl.col("user").shift(-1)).slice(0, pl.len() - 1)
    same = own & pl.all_horizontal(
        (pl.col(name) == pl.col(name).shift(-1)).slice(0, pl.len() - 1) for name in timed
    )
    steps, within = frame.select(same=same)["same"].to_numpy(), frame.select(own.sum()).item()
    notes: list[str] = []
    if looked_at(int(steps.sum()), float(steps.sum() / max(within, 1))):
        ids = frame["item"].unique().sort()
        item = frame["item"].rank("dense").to_numpy() - 1
        more = {f"data.{name}": frame[name].to_numpy() for name in rated}
        notes = sortings(item, ids, steps, more, timed=True)
    found = bool(notes)
    if share > TIED_FROM:
        notes.insert(
            0,
            f"{share:.1%} of the events happened at the very time of another one of their user "
            "(ties in time), as where times are days: which of them comes first, and which last, "
            "is the order of the rows.",
        )
    if notes:
        notes[-1] += f" {SHUFFLE}, or give finer times."
    return found, notes


def _sorted(what: str, values: NDArray[Any], steps: Mask) -> str:
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
        f"The rows of users are sorted by {what}, which {way} in {most / moves:.1%} of the steps "
        f"that no time orders. {_NO_TIME}"
    )


def _in_one_order(item: Ints, steps: Mask) -> list[str]:
    """A sentence if of two items nearly always the same one comes first, wherever they meet."""
    at = np.flatnonzero(steps & (item[:-1] != item[1:]))
    first, second = item[:-1][at], item[1:][at]
    pair = np.minimum(first, second) * (item.max(initial=0) + 1) + np.maximum(first, second)
    order = np.argsort(pair, kind="stable")
    again = np.diff(pair[order]) == 0
    alike = (np.diff((first < second)[order].astype(np.int8)) == 0)[again]
    if len(alike) < FEWEST_STEPS or alike.sum() < SORTED_FROM * len(alike):
        return []
    return [
        f"The rows of users are sorted: of two items that come one after the other again, the same "
        f"one is first in {alike.mean():.1%} of the cases. {_NO_TIME}"
    ]
