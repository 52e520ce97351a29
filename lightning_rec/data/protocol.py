"""What protocols share: filter, order and split interactions into train, validation and test.

A protocol is all that makes two numbers comparable: filters, split, candidates and cut-offs. Its
hash goes into every run folder; runs with different hashes are never put in one column.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar

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
from lightning_rec.data.behaviors import settle_targets
from lightning_rec.data.candidates import Candidates
from lightning_rec.data.chance import bits
from lightning_rec.data.cuts import settle_dates
from lightning_rec.data.earlier import earlier
from lightning_rec.data.filters import Ordered, filtered
from lightning_rec.data.kinds import Kept
from lightning_rec.data.repeats import SeenTargets
from lightning_rec.data.schema import Interactions
from lightning_rec.data.shares import Hashed
from lightning_rec.data.split import Seen, Split
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.ranges import BelowOne

# Settings that came later. They are left out of the record while they are at their default, which
# is what was done before they came: so the runs of that time keep their hash.
_LATER = {
    "drop_repeats", "drop_doubled", "candidates", "val_users", "val_seed", "others_train",
    "nested", "new_users", "new_items", "new_items_seed", "earlier", "since", "until",
    "target_events", "test_users", "test_seed",
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
        test_users: likewise test on this many users at most, so that what is slow is measured on a
            sample; those of the others are no targets. None takes all of them.
        test_seed: fixes that draw.
        new_items: share of the items that have no event in training or in any history before the
            targets, drawn at random, as if they had come to the catalogue afterwards.
        new_items_seed: fixes that draw.
        earlier: splits the training part alone once more, for the ranker of a pipeline; see
            :mod:`lightning_rec.data.earlier`.
        since: a date (as in ``Temporal``); events before it are left out before all else.
        until: likewise, those from then on: the log as it was at that moment.
        target_events: the target behavior of a log with several, by columns of its events, such as
            ``{kind: [purchase]}``: these events alone are targets, all others still train and are
            read as history. None takes every event.
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
    test_users: PositiveInt | None = None
    test_seed: NonNegativeInt = 0
    new_items: BelowOne = 0.0
    new_items_seed: NonNegativeInt = 0
    earlier: bool = False
    since: str | None = None
    until: str | None = None
    target_events: Mapping[str, Any] | Kept | None = None

    ordered: ClassVar[bool] = True  # whether the order of a user's events says anything
    known_users: ClassVar[bool] = True  # whether those that are tested were trained on

    @property
    def validates(self) -> bool:
        """Whether there are to be validation targets."""
        return self.val_users != 0 and not self.earlier

    def __post_init__(self) -> None:
        settle_dates(self, "since", "until")
        settle_targets(self)
        if self.seen == "keep" and self.seen_targets == "miss":
            raise UserError(
                "protocol.seen_targets=miss is about targets that are no candidates for being seen "
                "before, but with protocol.seen=keep they are: drop one of the two."
            )

    @property
    def given(self) -> bool:
        """Whether it takes data that came split, and no other."""
        return False

    @property
    def behavior(self) -> Kept | None:
        """The target behavior: columns of events with their values; None for all events."""
        return self.target_events  # type: ignore[return-value]

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
        events, counts = filtered(
            data, *filters, drop_doubled=self.drop_doubled, period=period, target=self.behavior
        )
        check_parts(events, self, data.info["name"])
        events = self.arranged(data, events)
        targets = self.choose(events)
        if self.earlier:
            events, targets = earlier(events, targets, getattr(self, "targets", "last"), self.name)
        elif self.test_users is not None:
            targets = tested(events, targets, self.test_users, self.test_seed)
        events, targets = without_new(events, targets, self.new_items, self.new_items_seed)
        split = arrays(data, events, targets, counts, self)
        check_usable(split, self)
        return split

    def validated(self, events: Ordered, held: Mask) -> Mask:
        """Of the events ``held`` out for validation (bool [N]), those of ``val_users`` users."""
        if self.val_users is None:
            return held
        return held & np.isin(events.user, drawn(events, held, self.val_users, self.val_seed))


def drawn(events: Ordered, held: Mask, number: int, seed: int) -> Ints:
    """``number`` users at most of those with an event that is ``held`` out, bool [N]."""
    users = np.unique(events.user[held])
    return users[np.argsort(bits(seed, users), kind="stable")[:number]]


def tested(events: Ordered, targets: Targets, number: int, seed: int) -> Targets:
    """The targets with those of a sample of users in the test; a note says so."""
    some = drawn(events, targets.test, number, seed)
    users = len(np.unique(events.user[targets.test]))
    note = (
        f"Of {users:,} users with a test target {len(some):,} were drawn at random, and the others "
        f"left out (protocol.test_users={number}): no figure of the test is one of all users."
    )
    test = targets.test & np.isin(events.user, some)
    return targets._replace(test=test, notes=(*targets.notes, note))
