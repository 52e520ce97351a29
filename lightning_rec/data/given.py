"""The protocol of data that came split: train, validation and test as files or marks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl

from lightning_rec.data.arrays import Targets
from lightning_rec.data.filters import Ordered, picked
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions
from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError

TRAIN, VAL, TEST = range(len(PARTS))
UNKNOWN_FROM = 0.05  # share of a part's events with an id that training lacks, which is told


@dataclass(frozen=True)
class Given(SplitProtocol):
    """The split that the data came with (``data.val`` and ``data.test`` beside ``data.path``).

    A user's training events come first, then those of validation and test, each by time. An event
    that only shows what was before (of ``data.history``) trains nobody and is no target.

    Args:
        targets: which of a user's events in a part are targets: ``all``, the ``first`` or the
            ``last``.
        successive: whether the history of a target holds the earlier events of its own part too.
            None takes them where events have times: where they have none, a part is a set.
    """

    targets: Literal["all", "first", "last"] = "all"
    successive: bool | None = None

    name: ClassVar[str] = "given"

    @property
    def given(self) -> bool:
        """It takes data that came split, and no other."""
        return True

    def arranged(self, data: Interactions, events: Ordered) -> Ordered:
        """Each user's events by part, then by time."""
        assert events.part is not None
        return events.taken(np.lexsort((events.part, events.user)))

    def choose(self, events: Ordered) -> Targets:
        """Read the marks, and tell what a split should not be like."""
        part = events.part
        assert part is not None
        if self.validates and not (part == VAL).any():
            raise UserError(
                "The data came without a validation part: name its file, data.val=FILE, or go "
                "without, protocol.val_users=0."
            )
        timed = events.time is not None or bool((part < TRAIN).any())
        successive = timed if self.successive is None else self.successive
        val, test = (
            picked(events, events.target & (part == held), self.targets) for held in (VAL, TEST)
        )
        return Targets(
            part == TRAIN,
            self.validated(events, val),
            test,
            None,
            order="part",
            parts=None if successive else part,
            notes=(*_doubled(events, part), *_early(events, part), *_unknown(events, part)),
        )


def _doubled(events: Ordered, part: Ints) -> Iterator[str]:
    """Say how many events of one part are in an earlier one too, alike in user, item and time."""
    columns = {"user": events.user, "item": events.item}
    alike = "user and item"
    if events.time is not None:
        columns["time"], alike = events.time, "user, item and time"
    table = pl.DataFrame({**columns, "part": part}).unique()
    for held, earlier in ((VAL, TRAIN), (TEST, TRAIN), (TEST, VAL)):
        rows, asked = (table.filter(pl.col("part") == each) for each in (earlier, held))
        if both := asked.join(rows, on=list(columns), how="semi").height:
            yield (
                f"{both:,} of {len(asked):,} {PARTS[held]} events are in {PARTS[earlier]} too, "
                f"alike in {alike}."
            )


def _early(events: Ordered, part: Ints) -> Iterator[str]:
    """Say how many events that are held out lie before ones that their users are trained on."""
    if events.time is None:
        return
    last = np.full(events.user.max() + 1, events.time.min())
    trained = part == TRAIN
    np.maximum.at(last, events.user[trained], events.time[trained])
    for held in (VAL, TEST):
        early = (part == held) & (events.time < last[events.user])
        if early.any():
            yield (
                f"{early.sum():,} of {(part == held).sum():,} {PARTS[held]} events lie before some "
                "that their users are trained on: the past is predicted from the future."
            )


def _unknown(events: Ordered, part: Ints) -> Iterator[str]:
    """Say in how many held-out events training does not know the user, or the item."""
    columns = {"item": events.item}
    if not (part < TRAIN).any():  # histories that come with the data are of users of their own
        columns["user"] = events.user
    for held in (VAL, TEST):
        inside = part == held
        for name, column in columns.items():
            new = int((~np.isin(column[inside], column[part == TRAIN])).sum())
            if new > UNKNOWN_FROM * inside.sum():
                yield (
                    f"In {new:,} of {inside.sum():,} {PARTS[held]} events the {name} is one that "
                    f"training does not know. Are the ids in column data.{name} of the same kind "
                    "in all files?"
                )
