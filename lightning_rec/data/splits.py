"""Protocols: filter, order and split interactions into train, validation and test.

A protocol is all that makes two numbers comparable: filters, split, candidates and cut-offs. Its
hash goes into every run folder; runs with different hashes are never put in one column.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from lightning_rec.data.arrays import (
    Cold,
    Targets,
    arrays,
    check_parts,
    check_usable,
    without_new,
)
from lightning_rec.data.candidates import Candidates
from lightning_rec.data.chance import bits
from lightning_rec.data.cuts import Cut, boundaries, settle, settle_dates, told_cuts
from lightning_rec.data.earlier import earlier
from lightning_rec.data.filters import Ordered, filtered, picked
from lightning_rec.data.repeats import SeenTargets
from lightning_rec.data.schema import Interactions
from lightning_rec.data.shares import Hashed
from lightning_rec.data.split import Seen, Split
from lightning_rec.data.types import Mask
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.ranges import BelowOne

# Settings that came later. They are left out of the record while they are at their default, which
# is what was done before they came: so the runs of that time keep their hash.
_LATER = {
    "drop_repeats", "drop_doubled", "candidates", "val_users", "val_seed", "others_train",
    "nested", "new_users", "new_items", "new_items_seed", "earlier", "since", "until",
}  # fmt: skip


@dataclass(frozen=True)
class SplitProtocol(Hashed, ABC):
    """Filters, split, candidates and cut-offs.

    Args:
        min_rating: keep events whose rating is at least this; None keeps all.
        user_core: drop users with fewer events than this (after the rating filter).
        item_core: likewise for items. With both, filtering is repeated until nothing changes.
        drop_repeats: of a user's consecutive events with one item keep the first alone; repeated
            with the cores.
        drop_doubled: of a user's events alike in item and time keep the first alone.
        seen: whether the items of a user's history are candidates: ``filter`` ranks all others,
            ``keep`` all items, as where people come back to what they know.
        seen_targets: under ``filter``, a target that was seen before is no candidate. ``exclude``
            leaves it out of the figures, ``miss`` counts it as not found; both say how many there
            were. Under ``keep`` it is a target like others, unless it is a copy of an event of
            its history, alike in time too: these are left out.
        cutoffs: the ``k`` of ``recall@k`` and other metrics at a cut-off.
        cold_targets: a target without any training event is no candidate. ``miss`` counts it as
            not found, ``exclude`` leaves it out of the figures; both say how many there were.
            ``rank`` makes every item of the catalogue a candidate, for models that know items by
            what is said of them.
        candidates: a sample that targets are ranked among, for old tables; None ranks the whole
            catalogue.
        val_users: validate on this many users at most, drawn at random from those who have a
            validation target; None takes all of them, 0 leaves no validation.
        val_seed: fixes that draw.
        new_items: share of the items that have no event in training or in any history before the
            targets, drawn at random, as if they had come to the catalogue afterwards.
        new_items_seed: fixes that draw.
        earlier: splits the training part alone once more, for the ranker of a pipeline; see
            :mod:`lightning_rec.data.earlier`.
        since: a date (as in ``Temporal``); events before it are left out before all else.
        until: likewise, those from then on: the log as it was at that moment.
    """

    kind: ClassVar[str] = "interactions"

    min_rating: float | None = None
    user_core: NonNegativeInt = 0
    item_core: NonNegativeInt = 0
    drop_repeats: bool = False
    drop_doubled: bool = False
    seen: Seen = "filter"
    seen_targets: SeenTargets = "exclude"
    cutoffs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 20)
    cold_targets: Cold = "miss"
    candidates: Candidates | None = None
    val_users: NonNegativeInt | None = None
    val_seed: NonNegativeInt = 0
    new_items: BelowOne = 0.0
    new_items_seed: NonNegativeInt = 0
    earlier: bool = False
    since: str | None = None
    until: str | None = None

    ordered: ClassVar[bool] = True  # whether the order of a user's events says anything
    known_users: ClassVar[bool] = True  # whether those that are tested were trained on

    @property
    def validates(self) -> bool:
        """Whether there are to be validation targets."""
        return self.val_users != 0 and not self.earlier

    def __post_init__(self) -> None:
        settle_dates(self, "since", "until")
        if self.seen == "keep" and self.seen_targets == "miss":
            raise UserError(
                "protocol.seen_targets=miss is about targets that are no candidates for being seen "
                "before, but with protocol.seen=keep they are: drop one of the two."
            )

    @property
    def given(self) -> bool:
        """Whether it takes data that came split, and no other."""
        return False

    def settings(self) -> dict[str, Any]:
        """All settings, for the record."""
        default = {
            field.name for field in fields(self) if getattr(self, field.name) == field.default
        }
        told = {key: value for key, value in asdict(self).items() if key not in _LATER & default}
        ranked = "catalogue" if self.cold_targets == "rank" else "train vocabulary"
        seen = "filtered" if self.seen == "filter" else "kept"
        return {"name": self.name, "candidates": f"{ranked}, seen {seen}", **told}

    def hash(self, counts: Mapping[str, int] | None = None) -> str:
        """Hex SHA-256 of the settings. Where the split left no target that was seen before
        (``counts``), without those about seen ones, which came later.
        """
        told = self.settings()
        repeated = sum((counts or {}).get(f"seen {stage} targets", 0) for stage in ("val", "test"))
        if not repeated and (self.seen, self.seen_targets) == ("filter", "exclude"):
            told = {key: told[key] for key in told if key not in ("seen", "seen_targets")}
        return sha256_json({"version": self.version, **told})

    def view(self, data: Interactions) -> Interactions:
        """The data in the units that are split: here as it is, users."""
        return data

    def arranged(self, data: Interactions, events: Ordered) -> Ordered:
        """The events as :meth:`choose` wants them, by user: here as they are, by time."""
        return events

    def shortfall(self, split: Split) -> str:
        """What it takes for a target, and what to do where there is none: a sentence."""
        return "A target needs an event of its user before it whose item is in training."

    @abstractmethod
    def choose(self, events: Ordered) -> Targets:
        """Say which events train, which are validation targets, which are test targets."""

    def split(self, data: Interactions) -> Split:
        """Filter, order and split. Raises UserError where nothing is left or data is missing."""
        try:
            return self._split(data)
        except UserError as error:
            if not self.new_items:
                raise
            replace(self, new_items=0.0).split(data)  # says what else is the cause, if anything is
            raise UserError(
                f"protocol.new_items={self.new_items:g} keeps too many items out of training, "
                "without it there is enough: lower it."
            ) from error

    def _split(self, data: Interactions) -> Split:
        if self.candidates is not None and self.cold_targets == "rank":
            raise UserError(
                "protocol.candidates draws from items with training events, and "
                "protocol.cold_targets=rank ranks those without as well: choose one of them."
            )
        filters = (self.min_rating, self.user_core, self.item_core, self.drop_repeats)
        period = (self.since, self.until)
        events, counts = filtered(data, *filters, drop_doubled=self.drop_doubled, period=period)
        check_parts(events, self, data.info["name"])
        events = self.arranged(data, events)
        targets = self.choose(events)
        if self.earlier:
            events, targets = earlier(events, targets, getattr(self, "targets", "last"), self.name)
        events, targets = without_new(events, targets, self.new_items, self.new_items_seed)
        split = arrays(data, events, targets, counts, self)
        check_usable(split, self)
        return split

    def validated(self, events: Ordered, held: Mask) -> Mask:
        """Of the events ``held`` out for validation (bool [N]), those of ``val_users`` users."""
        if self.val_users is None:
            return held
        users = np.unique(events.user[held])
        drawn = users[np.argsort(bits(self.val_seed, users), kind="stable")[: self.val_users]]
        return held & np.isin(events.user, drawn)


@dataclass(frozen=True)
class LeaveOneOut(SplitProtocol):
    """Each user's last event is the test target, the one before it the validation target.

    Users with fewer than three events are trained on but not evaluated. Events of other users
    that happen later are in training, so the future leaks into it (Ji et al., 2020,
    arXiv:2010.11060); the audit reports how much.

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
        return "A user needs three events. Loosen the filters, or choose another protocol."

    def choose(self, events: Ordered) -> Targets:
        """Mark the last two events of every user with at least three."""
        place, length = events.places()
        enough = length >= 3
        test = enough & (place == length - 1)
        held = enough & (place == length - 2)
        val = self.validated(events, held)
        return Targets(~(test | (val if self.others_train else held)), val, test, None)


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
        val = known & (events.time >= val_from) & (events.time < test_from)
        test = known & (events.time >= test_from)
        val, test = (picked(events, window, self.targets) for window in (val, test))
        return Targets(train, self.validated(events, val), test, (val_from, test_from))
