"""Protocols that split by a user's last events, or by time."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lightning_rec.data.arrays import Targets
from lightning_rec.data.cuts import Cut, boundaries, settle, told_cuts
from lightning_rec.data.filters import Ordered, picked
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError


@dataclass(frozen=True)
class LeaveOneOut(SplitProtocol):
    """Each user's last event is the test target, the one before it the validation target.

    Users with fewer than three events are trained on but not evaluated. Events of other users
    that happen later are in training, so the future leaks into it (Ji et al., 2020,
    arXiv:2010.11060); the audit reports how much. With ``target_events`` it is a user's last two
    of these; what comes before the first of them trains, and what comes after is left out.

    Args:
        others_train: with ``val_users``, whether all other users train on their last event but
            one. It is in their test history either way.

    Raises UserError if others are to train where there are none.
    """

    others_train: bool = False

    name: ClassVar[str] = "leave_one_out"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.others_train and self.val_users is None:
            raise UserError(
                "protocol.others_train=true is about users who are not validated on, but with "
                "protocol.val_users=null all are: say how many, as in protocol.val_users=2048."
            )

    def shortfall(self, split: Split) -> str:
        """Three events of a user."""
        of = "three events" if self.behavior is None else "an event and two target events after it"
        return f"A user needs {of}. Loosen the filters, or choose another protocol."

    def choose(self, events: Ordered) -> Targets:
        """Mark the last two target events of every user with anything before them."""
        after = events.targets_after()
        held = events.target & (after == 1) & (events.places()[0] > 0)
        evaluated = np.isin(events.user, events.user[held])
        test = events.target & (after == 0) & evaluated
        val = self.validated(events, held)
        train = ~evaluated | (after > 1)
        if self.others_train:
            train |= (after > 0) & ~np.isin(events.user, events.user[val])
        return Targets(train, val, test, None)


@dataclass(frozen=True)
class Temporal(SplitProtocol):
    """Split by global time: train before ``val_from``, validate before ``test_from``, then test.

    Args:
        val_from: where validation begins: a quantile of event times, or a date (ISO, with a time
            of day and a zone if need be; UTC without one). An event at the very date lies after it.
        test_from: likewise, where test begins.
        nested: cut as time-to-split does (Gusak et al., RecSys 2025): ``val_from`` is a quantile
            of the times before the test instead of all times, users with a single one left out,
            and an event at the very time of a cut lies before it instead of after.
        targets: which of a user's events in a window are targets: the ``first`` (the next one as
            seen from the boundary), the ``last``, or ``all`` of them, each with all events before
            it as history (Gusak et al. call the last two *last* and *successive*).
        new_users: whether users without any training event are evaluated too, from their second
            event on.

    Raises UserError if validation would begin after test, or a cut is neither quantile nor date.
    """

    val_from: Cut = 0.8
    test_from: Cut = 0.9
    nested: bool = False
    targets: Literal["first", "last", "all"] = "first"
    new_users: bool = False

    name: ClassVar[str] = "temporal"

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, ordered=not self.nested)

    def shortfall(self, split: Split) -> str:
        """Events on both sides of a cut."""
        before, more = "it" if self.new_users else "protocol.val_from", ""
        if not self.new_users and split.counts["train events"]:
            more = ", or say protocol.new_users=true, which takes new users from their second event"
        who = f"A target lies after a cut and its user has an event before {before}"
        return f"{who}: {told_cuts(split)}. Move the cuts{more}."

    def choose(self, events: Ordered) -> Targets:
        """Cut at two moments. Raises UserError without times, or where a date lies outside."""
        if events.time is None:
            raise UserError(
                "protocol=temporal needs the time of each event and this data has none: set "
                "data.time=COLUMN, or use protocol=random_items, or leave_one_out if rows are in "
                "the order of time."
            )
        cuts = (self.val_from, self.test_from)
        val_from, test_from = boundaries(
            *cuts, events.time, user=events.user if self.nested else None
        )
        train = events.time < val_from
        if self.new_users:
            known = events.places()[0] > 0
        else:
            known = np.isin(events.user, events.user[train])
        known &= events.target
        val = known & (events.time >= val_from) & (events.time < test_from)
        test = known & (events.time >= test_from)
        val, test = (picked(events, window, self.targets) for window in (val, test))
        return Targets(train, self.validated(events, val), test, (val_from, test_from))
