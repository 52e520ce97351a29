"""Items that come back in a user's events: found, counted, and told where they matter."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.filters import Ordered
from lightning_rec.data.split import Order, Seen
from lightning_rec.data.types import Ints, Mask

SeenTargets = Literal["exclude", "miss"]

TOLD_FROM = 0.03  # share of targets, events or users above which the user is told
REMEDY = (
    "Where people come back to items, as with music, groceries or apps, say protocol.seen=keep: "
    "all items are candidates then. Consecutive repeats that say nothing are dropped by "
    "protocol.drop_repeats=true."
)
COPIES = "Drop the copies: protocol.drop_doubled=true."


class Repeats(NamedTuple):
    """What each event repeats of its user's.

    first: int64 [N], place of the first event with its item; its own if there is none before.
    alike: int64 [N], of the first with its time as well, both or neither of the target behavior, of
        which it is a copy; its own where there are no times, for then a copy cannot be told from a
        repeat.
    consecutive: bool [N], whether its item is that of the event just before, if there is an order.
    """

    first: Ints
    alike: Ints
    consecutive: Mask


def repeats(events: Ordered, order: Order = "time") -> Repeats:
    """Look for earlier events with the same user and item."""
    place = np.arange(len(events.user))
    frame = pl.DataFrame({"place": place, "user": events.user, "item": events.item})
    first = frame.select(pl.col("place").first().over("user", "item"))["place"].to_numpy()
    alike = place
    if events.time is not None:
        frame = frame.with_columns(time=events.time, target=events.target)
        copied = frame.select(pl.col("place").first().over("user", "item", "time", "target"))
        alike = copied["place"].to_numpy()
    consecutive = np.zeros(len(place), dtype=bool)
    if order != "none":
        consecutive[1:] = (np.diff(events.user) == 0) & (np.diff(events.item) == 0)
    return Repeats(first, alike, consecutive)


def counted(events: Ordered, found: Repeats, units: str) -> dict[str, int]:
    """How many events repeat which, and how many users, or sessions, have a single item."""
    place = np.arange(len(events.user))
    # Each pair of user and item has one event that repeats none.
    _, distinct = np.unique(events.user[found.first == place], return_counts=True)
    return {
        "events": len(place),
        "repeated events": int((found.first < place).sum()),
        "consecutive repeats": int(found.consecutive.sum()),
        "doubled rows": int((found.alike < place).sum()),
        f"{units} with a single item": int((distinct == 1).sum()),
    }


def told(
    counts: dict[str, int],
    seen: Seen,
    targets: SeenTargets,
    order: Order,
    *,
    timed: bool,
    unit: str = "user",
    dropped: bool = False,
) -> Iterator[str]:
    """A sentence on each kind of repeats that is more than a few, with what to do about it.
    ``timed``: whether events have times; ``unit``: what they are cut into, user or session;
    ``dropped``: whether consecutive repeats were left out.
    """
    events, doubled, again, repeated = (
        counts[name]
        for name in ("events", "doubled rows", "consecutive repeats", "repeated events")
    )
    if seen == "filter" and (shares := _of_targets(counts, targets)):
        became = "are left out of the figures" if targets == "exclude" else "count as misses"
        yield (
            f"{shares} were seen before in their own history. They {became} "
            f"(protocol.seen_targets={targets}), since seen items are no candidates. {REMEDY}"
        )
    if doubled > TOLD_FROM * events:
        yield (
            f"{_share(doubled, events)} events are copies of another one, alike in {unit}, item "
            f"and time: each is learnt from as if it had happened. {COPIES}"
        )
    elif again > TOLD_FROM * events and not (timed and seen == "filter"):
        why = ": to say the last item again is to find those"
        if not timed:
            why = ", and there are no times to tell whether they are copies of a row"
        yield (
            f"{_share(again, events)} events repeat the item of their {unit}'s event before{why}. "
            "If they are copies, or say nothing, drop them: protocol.drop_repeats=true."
        )
    elif not timed and seen == "keep" and order != "none" and repeated > TOLD_FROM * events:
        yield (
            f"{_share(repeated, events)} events have the {unit} and the item of an earlier one, "
            "and there are no times to tell whether they are copies, as in a file that was written "
            "twice: what is tested would be trained on then. Give times, or each row once."
        )
    if (users := counts.get("users", 0)) and (
        lone := counts["users with a single item"]
    ) > TOLD_FROM * users:
        yield (
            f"{_share(lone, users)} users have a single distinct item, so that nothing can be "
            "tested of them. If data.item is the right column, leave them out: "
            + "protocol.drop_repeats=true " * (not dropped)
            + "protocol.user_core=2."
        )


def none_left(counts: dict[str, int], stage: str) -> str:
    """Why a stage has no targets, and what to do about it, if all were left out; else nothing."""
    number, cold = (counts[f"{kind} {stage} targets"] for kind in ("seen", "cold"))
    if cold > number:
        return (
            f"{cold:,} are of items without training events: protocol.cold_targets=miss counts "
            "them as not found, and rank makes all of the catalogue candidates."
        )
    if not number:
        return ""
    if 2 * (copies := counts[f"doubled {stage} targets"]) > number:
        return (
            f"{copies:,} are copies of an event in their own history, alike in user, item and "
            f"time, which is no test. {COPIES}"
        )
    return f"{number:,} were seen before in their own history, which is no test. {REMEDY}"


def _of_targets(counts: dict[str, int], targets: SeenTargets) -> str:
    """How many of the targets were seen before, for the stages where these are more than a few."""
    shares = []
    for stage in ("val", "test"):
        number, total = counts[f"seen {stage} targets"], counts[f"{stage} targets"]
        total += number if targets == "exclude" else 0
        if number > TOLD_FROM * total:
            shares.append(f"{_share(number, total)} {stage} targets")
    return " and ".join(shares)


def _share(number: int, total: int) -> str:
    return f"{number:,} of {total:,} ({number / total:.1%})"
