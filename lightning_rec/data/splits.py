"""Protocols: filter, order and split interactions into train, validation and test.

A protocol is all that makes two numbers comparable: filters, split, candidates and cut-offs. Its
hash goes into every run folder; runs with different hashes are never put in one column.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Examples, Split
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_json

SPLIT_VERSION = 1  # part of the hash: raise it when the meaning of a protocol changes
Share = Annotated[float, Field(gt=0, lt=1)]
Ints = NDArray[np.int64]


class Ordered(NamedTuple):
    """The events that pass the filters, by user, then time, then position in the file.

    user, item, row: int64 [N]; ``row`` is the event's row in ``interactions.parquet``.
    time: int64 [N] seconds, or None where the data has no times.
    """

    user: Ints
    item: Ints
    row: Ints
    time: Ints | None


class Targets(NamedTuple):
    """What a protocol decides, as masks over the ordered events (bool [N])."""

    train: NDArray[np.bool_]
    val: NDArray[np.bool_]
    test: NDArray[np.bool_]
    boundaries: tuple[int, int] | None  # times where validation and test begin, if any


@dataclass(frozen=True)
class Protocol(ABC):
    """Filters, split, candidates and cut-offs.

    Args:
        min_rating: keep events whose rating is at least this; None keeps all.
        user_core: drop users with fewer events than this (after the rating filter).
        item_core: likewise for items. With both, filtering is repeated until nothing changes.
        cutoffs: the ``k`` of ``recall@k`` and its kin.
        cold_targets: a target without any training event is no candidate. ``miss`` counts it as
            not found, ``exclude`` leaves it out of the figures; both say how many there were.
    """

    min_rating: float | None = None
    user_core: Annotated[int, Field(ge=0)] = 0
    item_core: Annotated[int, Field(ge=0)] = 0
    cutoffs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 20)
    cold_targets: Literal["miss", "exclude"] = "miss"

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """All settings, for the record."""
        return {"name": self.name, "candidates": "train vocabulary, seen filtered", **asdict(self)}

    def hash(self) -> str:
        """Hex SHA-256 of the settings: equal hashes on equal data mean comparable figures."""
        return sha256_json({"version": SPLIT_VERSION, **self.settings()})

    @abstractmethod
    def choose(self, events: Ordered) -> Targets:
        """Say which events train, which are validation targets, which are test targets."""

    def split(self, data: Interactions) -> Split:
        """Filter, order and split. Raises UserError where nothing is left or data is missing."""
        kept, counts = self._filter(data)
        events = _ordered(kept)
        targets = self.choose(events)
        split = _assemble(data, events, targets, counts, self)
        self._check(split)
        return split

    def _filter(self, data: Interactions) -> tuple[pl.DataFrame, dict[str, int]]:
        """Apply the filters, with the number of events left after each step."""
        events = data.events
        columns = events.collect_schema().names()
        kept = events.with_row_index("row")
        if self.min_rating is not None:
            if "rating" not in columns:
                raise UserError(
                    f"protocol.min_rating={self.min_rating} needs ratings, but {data.info['name']} "
                    "has none: set data.rating to the column that holds them, or min_rating=null."
                )
            kept = kept.filter(pl.col("rating") >= self.min_rating)
        wanted = [
            name for name in ("user", "item", "row", "timestamp") if name in [*columns, "row"]
        ]
        frame = kept.select(wanted).collect()
        counts = {"events read": data.info["events"]}
        if self.min_rating is not None:
            counts[f"after min_rating={self.min_rating:g}"] = len(frame)
        if self.user_core > 1 or self.item_core > 1:
            frame = _core(frame, self.user_core, self.item_core)
            counts[f"after user_core={self.user_core}, item_core={self.item_core}"] = len(frame)
        if not len(frame):
            steps = ", ".join(f"{step}: {count:,}" for step, count in counts.items())
            raise UserError(f"Nothing is left of {data.info['name']} after filtering ({steps}).")
        return frame, counts

    def _check(self, split: Split) -> None:
        for stage, examples in (("validation", split.val), ("test", split.test)):
            if not examples.size:
                steps = ", ".join(f"{step}: {count:,}" for step, count in split.counts.items())
                raise UserError(
                    f"protocol={self.name} leaves no {stage} targets ({steps}): no user has enough "
                    "history. Loosen the filters or choose another protocol."
                )
        if max(self.cutoffs) >= split.num_items:
            raise UserError(
                f"protocol.cutoffs asks for the top {max(self.cutoffs)}, but only "
                f"{split.num_items} items are left in training: use cut-offs below that."
            )


@dataclass(frozen=True)
class LeaveOneOut(Protocol):
    """Each user's last event is the test target, the one before it the validation target.

    Users with fewer than three events are trained on but not evaluated. Events of other users
    that happen later are in training, so the future leaks into it (Ji et al., 2020,
    arXiv:2010.11060); the audit reports how much.
    """

    name: ClassVar[str] = "leave_one_out"

    def choose(self, events: Ordered) -> Targets:
        """Mark the last two events of every user with at least three."""
        first, length = _users(events.user)
        from_end = first + length - np.arange(len(events.user))  # 1 for the last event
        enough = length >= 3
        test = enough & (from_end == 1)
        val = enough & (from_end == 2)
        return Targets(~(test | val), val, test, None)


@dataclass(frozen=True)
class Temporal(Protocol):
    """Split by global time: train before ``val_from``, validate before ``test_from``, then test.

    Args:
        val_from: quantile of event times where validation begins.
        test_from: quantile of event times where test begins.
        targets: which of a user's events in a window are targets: the ``first`` (the next one as
            seen from the boundary), the ``last``, or ``all`` of them, each with all events before
            it as history (Gusak et al., 2025, call the last two *last* and *successive*).
    """

    val_from: Share = 0.8
    test_from: Share = 0.9
    targets: Literal["first", "last", "all"] = "first"

    name: ClassVar[str] = "temporal"

    def __post_init__(self) -> None:
        if self.val_from >= self.test_from:
            raise UserError(
                f"protocol.val_from={self.val_from} must lie before test_from={self.test_from}."
            )

    def choose(self, events: Ordered) -> Targets:
        """Cut at two quantiles of time. Raises UserError without times or with equal cuts."""
        if events.time is None:
            raise UserError(
                "protocol=temporal needs the time of each event and this data has none: "
                "set data.time to the column that holds it, or use protocol=leave_one_out."
            )
        cuts = np.quantile(events.time, [self.val_from, self.test_from], method="higher")
        val_from, test_from = (int(cut) for cut in cuts)
        train = events.time < val_from
        window_val = (events.time >= val_from) & (events.time < test_from)
        window_test = events.time >= test_from
        known = np.zeros(events.user.max() + 1, dtype=bool)  # users that have a training history
        known[events.user[train]] = True
        val, test = (
            self._pick(events, window & known[events.user]) for window in (window_val, window_test)
        )
        return Targets(train, val, test, (val_from, test_from))

    def _pick(self, events: Ordered, window: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self.targets == "all":
            return window
        where = np.flatnonzero(window)
        change = np.flatnonzero(np.diff(events.user[where]))  # the last event of each user but one
        edges = {"first": np.append(-1, change) + 1, "last": np.append(change, len(where) - 1)}
        picked = np.zeros_like(window)
        picked[where[edges[self.targets]] if len(where) else where] = True
        return picked


def _core(frame: pl.DataFrame, user_core: int, item_core: int) -> pl.DataFrame:
    """Keep users and items with enough events, repeated until nothing changes."""
    before = -1
    while len(frame) != before:
        before = len(frame)
        frame = frame.filter(pl.len().over("user") >= user_core)
        frame = frame.filter(pl.len().over("item") >= item_core)
    return frame


def _ordered(frame: pl.DataFrame) -> Ordered:
    """Sort by user and time; equal times keep their order in the file, never that of item ids."""
    timed = "timestamp" in frame.columns
    frame = frame.sort(["user", "timestamp", "row"] if timed else ["user", "row"])
    column = {name: frame[name].cast(pl.Int64).to_numpy() for name in frame.columns}
    return Ordered(column["user"], column["item"], column["row"], column.get("timestamp"))


def _users(user: Ints) -> tuple[Ints, Ints]:
    """For each event, the index of its user's first event and that user's number of events."""
    starts = np.append(0, np.flatnonzero(np.diff(user)) + 1)
    lengths = np.diff(np.append(starts, len(user)))
    return np.repeat(starts, lengths), np.repeat(lengths, lengths)


def _assemble(
    data: Interactions,
    events: Ordered,
    targets: Targets,
    counts: dict[str, int],
    protocol: Protocol,
) -> Split:
    """Build the vocabulary from training events only, then the arrays that batches are cut from."""
    num_users, num_known = data.info["users"], data.info["items"]
    train_counts = np.bincount(events.item[targets.train], minlength=num_known)
    vocabulary = np.flatnonzero(train_counts)
    code = np.full(num_known, -1, dtype=np.int64)
    code[vocabulary] = np.arange(len(vocabulary))
    item = code[events.item]
    known = item >= 0
    before = np.append(0, np.cumsum(known))  # known events before each event
    offsets = np.append(0, np.cumsum(np.bincount(events.user[known], minlength=num_users)))
    train_length = np.bincount(events.user[targets.train], minlength=num_users)

    def examples(mask: NDArray[np.bool_]) -> Examples:
        at = np.flatnonzero(mask)
        cold = item[at] < 0
        if protocol.cold_targets == "exclude":
            at = at[~cold]
        empty = before[at] == offsets[events.user[at]]  # nothing known happened before
        at = at[~empty]
        return Examples(events.user[at], before[at], item[at], events.row[at])

    val, test = examples(targets.val), examples(targets.test)
    counts = counts | {
        "users": len(np.unique(events.user)),
        "train events": int(targets.train.sum()),
        "val targets": val.size,
        "test targets": test.size,
        "cold val targets": int((item[targets.val] < 0).sum()),
        "cold test targets": int((item[targets.test] < 0).sum()),
    }
    notes = _notes(data, events.user, test, protocol)
    return Split(
        offsets=offsets,
        items=item[known].astype(np.int32),
        rows=events.row[known],
        train_end=offsets[:-1] + train_length,
        vocabulary=vocabulary,
        train_counts=train_counts[vocabulary],
        val=val,
        test=test,
        boundaries=targets.boundaries,
        counts=counts | {"users not evaluated": len(np.setdiff1d(events.user, test.user))},
        notes=notes,
    )


def _notes(data: Interactions, user: Ints, test: Examples, protocol: Protocol) -> tuple[str, ...]:
    """Say how many users have no test target, and who they are."""
    missing = np.setdiff1d(user, test.user)
    if not len(missing):
        return ()
    names = data.users["user"].gather(missing[:12].tolist()).to_list()
    more = f" and {len(missing) - 12:,} more" if len(missing) > 12 else ""
    return (
        f"{len(missing):,} of {len(np.unique(user)):,} users have no test target under "
        f"protocol={protocol.name}: their training events are used, they are not evaluated "
        f"({listed(names)}{more}).",
    )
