"""Which events a protocol keeps, and in what order."""

from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.behaviors import none_of, of_target
from lightning_rec.data.cuts import seconds
from lightning_rec.data.kinds import Kept
from lightning_rec.data.schema import TIMED, Interactions, times
from lightning_rec.data.types import Ints, Mask, Times
from lightning_rec.errors import UserError


class Ordered(NamedTuple):
    """The events that pass the filters, by user, then time, then position in the file.

    user, item, row: int64 [N]; ``row`` is the event's row in ``interactions.parquet``.
    time: [N] seconds, int64, or float64 where some have fractions; None where the data has none.
    part: int64 [N], of data that came split: 0 trains, 1 validates, 2 is tested, -1 only shows what
        was before; else None.
    target: bool [N], whether an event is of the target behavior.
    """

    user: Ints
    item: Ints
    row: Ints
    time: Times | None
    part: Ints | None
    target: Mask

    def taken(self, at: Ints) -> "Ordered":
        """The events at these places, in this order."""
        return Ordered(*(None if column is None else column[at] for column in self))  # type: ignore[arg-type]

    def places(self) -> tuple[Ints, Ints]:
        """Where each event stands among its user's, from 0, and how many these are: int64 [N]."""
        starts = np.append(0, np.flatnonzero(np.diff(self.user)) + 1)
        lengths = np.diff(np.append(starts, len(self.user)))
        place = np.arange(len(self.user)) - np.repeat(starts, lengths)
        return place, np.repeat(lengths, lengths)

    def targets_after(self) -> Ints:
        """How many target events of its user come after each event: int64 [N]."""
        place, length = self.places()
        met = np.cumsum(self.target)
        return np.asarray(met[np.arange(len(place)) + length - 1 - place] - met)


def filtered(
    data: Interactions,
    min_rating: float | None,
    user_core: int,
    item_core: int,
    drop_repeats: bool,
    *,
    drop_doubled: bool = False,
    period: tuple[str | None, str | None] = (None, None),
    target: Kept | None = None,
) -> tuple[Ordered, dict[str, int]]:
    """Filter and order the events; returns them, and how many were left after each step.

    ``period``: dates from and until which events are kept, None for no bound. ``target``: the
    target behavior, None for all; an event that is of it is no copy or repeat of one that is not.
    Raises UserError where ratings or times are missing, or nothing is left.
    """
    columns = data.events.collect_schema().names()
    dropped = data.info["dropped"]
    counts = {"rows dropped": dropped["rows"]} if dropped else {}
    counts["events read"] = data.info["events"]
    kept = _rated(data.events.with_row_index("row"), min_rating, data)
    timed = [name for name in TIMED if name in columns]
    kept = _within(kept, period, timed, data)
    parted = ["part"] if "part" in columns else []
    known = ["user", "item", "row", *timed, *parted]
    frame = kept.select(*known, of_target(data, target).alias("target")).collect()
    if min_rating is not None:
        counts[f"after min_rating={min_rating:g}"] = len(frame)
    if any(period):
        counts["in the period"] = len(frame)
    # Equal times keep their order in the file, never that of item ids.
    frame = frame.sort(["user", *timed, "row"])
    if drop_doubled:
        if not timed:
            raise UserError(
                "protocol.drop_doubled=true tells a copy from a repeat by its time, and "
                f"{data.info['name']} has no times: set data.time to the column that holds them, "
                "or drop all consecutive repeats, protocol.drop_repeats=true."
            )
        frame = frame.filter(pl.struct("user", "item", "target", *timed).is_first_distinct())
        counts["after drop_doubled"] = len(frame)
    if user_core > 1 or item_core > 1 or drop_repeats:
        frame = _core(frame, user_core, item_core, drop_repeats)
        repeats = ", drop_repeats" if drop_repeats else ""
        counts[f"after user_core={user_core}, item_core={item_core}{repeats}"] = len(frame)
    if not len(frame):
        steps = ", ".join(f"{step}: {count:,}" for step, count in counts.items())
        left = f"Nothing is left of {data.info['name']} after filtering"
        raise UserError(f"{left} ({steps}): lower what protocol asks for.")
    if target is not None:
        counts["of the target behavior"] = int(frame["target"].sum())
        if not counts["of the target behavior"]:
            raise none_of(data, target)
    user, item, row = (frame[name].cast(pl.Int64).to_numpy() for name in ("user", "item", "row"))
    part = frame["part"].cast(pl.Int64).to_numpy() if parted else None
    return Ordered(user, item, row, times(frame), part, frame["target"].to_numpy()), counts


def _rated(kept: pl.LazyFrame, least: float | None, data: Interactions) -> pl.LazyFrame:
    """The events with at least this rating. Raises UserError without ratings."""
    if least is None:
        return kept
    if "rating" not in kept.collect_schema():
        raise UserError(
            f"protocol.min_rating={least} needs ratings, but {data.info['name']} has "
            "none: set data.rating to the column that holds them, or protocol.min_rating=null."
        )
    # Ratings are Float32: .7 is to be .7, which no Float64 between the two says.
    return kept.filter(pl.col("rating") >= pl.lit(least, pl.Float32))


def _within(
    kept: pl.LazyFrame, period: tuple[str | None, str | None], timed: list[str], data: Interactions
) -> pl.LazyFrame:
    """The events of a period. Raises UserError without times."""
    for key, date in zip(("since", "until"), period, strict=True):
        if date is None:
            continue
        if not timed:
            raise UserError(
                f"protocol.{key}={date} needs the time of each event, and {data.info['name']} has "
                f"none: set data.time=COLUMN, or protocol.{key}=null."
            )
        time = sum((pl.col(name) / 10**6 for name in timed[1:]), pl.col(timed[0]))
        kept = kept.filter(time >= seconds(date) if key == "since" else time < seconds(date))
    return kept


def picked(events: Ordered, window: Mask, targets: Literal["first", "last", "all"]) -> Mask:
    """Of the events in a window, bool [N], each user's first, last, or all."""
    if targets == "all":
        return window
    where = np.flatnonzero(window)
    change = np.flatnonzero(np.diff(events.user[where]))  # the last event of each user but one
    edges = {"first": np.append(-1, change) + 1, "last": np.append(change, len(where) - 1)}
    found = np.zeros_like(window)
    found[where[edges[targets]] if len(where) else where] = True
    return found


def _core(frame: pl.DataFrame, user_core: int, item_core: int, drop_repeats: bool) -> pl.DataFrame:
    """Keep users and items with enough events, repeated until nothing changes.

    An item that goes can bring two events of another one together: repeats are dropped each time.
    """
    before = -1
    while len(frame) != before:
        before = len(frame)
        if drop_repeats:
            again = [pl.col(name).eq(pl.col(name).shift(1)) for name in ("user", "item", "target")]
            frame = frame.filter(pl.all_horizontal(again).fill_null(False).not_())
        frame = frame.filter(pl.len().over("user") >= user_core)
        frame = frame.filter(pl.len().over("item") >= item_core)
    return frame
