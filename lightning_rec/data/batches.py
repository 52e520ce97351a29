"""Batches of sequences, each cut from the arrays of a split at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.candidates import Candidates
from lightning_rec.data.core.batches import BatchData, Part, narrowed
from lightning_rec.data.split import Examples, Histories, Schema, Split, ranges
from lightning_rec.data.types import Ints, Mask
from lightning_rec.data.windows import Windows
from lightning_rec.errors import UserError


class TrainBatch(NamedTuple):
    """A batch of windows to learn from, the longest first."""

    histories: Histories


class EvalBatch(NamedTuple):
    """A batch to rank, the longest histories first.

    example: int64 [B]; the examples' numbers.
    histories: the latest items of each.
    target: int64 [B]; item codes, -1 for an item without training events.
    seen_row, seen_item: int64 [S]; all pairs (row of this batch, item in that row's history),
        the whole history and not only its latest items: they are no candidates. None where the
        protocol keeps seen items among the candidates.
    candidates: int64 [B, n], the sample to rank the target among, -1 where there is no item; or
        None where only the whole catalogue is ranked.
    """

    example: Tensor
    histories: Histories
    target: Tensor
    seen_row: Tensor
    seen_item: Tensor
    candidates: Tensor | None = None


def gather(items: NDArray[Any], start: Ints, end: Ints, padding: int) -> Tensor:
    """Cut ``items[start[b]:end[b]]`` for all b at once, padded on the right: int64 [B, L]."""
    longest = int((end - start).max(initial=1))
    at = start[:, None] + np.arange(longest)  # [B, L]
    inside = at < end[:, None]
    block = np.full(at.shape, padding, dtype=np.int64)
    block[inside] = items[at[inside]]
    return torch.from_numpy(block)


def gather_times(times: NDArray[Any], start: Ints, end: Ints, after: Ints) -> Tensor:
    """Times of ``items[start[b]:end[b]]``, and ``after`` them: int64 [B, L + 1], whole seconds."""
    longest = int((end - start).max(initial=1))
    at = start[:, None] + np.arange(longest + 1)
    inside = at < end[:, None]
    block = np.where(inside, times[np.where(inside, at, 0)], after[:, None])
    return torch.from_numpy(seconds(block))


def gather_rows(rows: NDArray[np.int32], start: Ints, end: Ints) -> Tensor:
    """Rows of ``rows[start[b]:end[b]]``, int32 [S, F], padded with 0: int64 [B, L, F]."""
    longest = int((end - start).max(initial=1))
    at = start[:, None] + np.arange(longest)
    inside = at < end[:, None]
    block = np.zeros((*at.shape, rows.shape[1]), dtype=np.int64)
    block[inside] = rows[at[inside]]
    return torch.from_numpy(block)


def seconds(times: NDArray[Any]) -> Ints:
    """Times as whole seconds, int64."""
    return np.floor(times).astype(np.int64)


def times_of(split: Split) -> NDArray[Any] | None:
    """The times of a split's events, if they are what its events are ordered by."""
    return split.times if split.order == "time" else None


def pairs(items: NDArray[np.int32], start: Ints, end: Ints) -> tuple[Tensor, Tensor]:
    """All of ``items[start[b]:end[b]]`` with their b: int64 [S], int64 [S]."""
    row, at = ranges(start, end)
    return torch.from_numpy(row), torch.from_numpy(items[at].astype(np.int64))


def asked_at(split: Split, examples: Examples) -> Ints:
    """Where in ``items`` the event is whose time a target is asked at: int64 [n].

    That is the target, or the latest of the history where the split does not hold the target.
    """
    end, last = np.asarray(examples.end), split.offsets[1:][examples.user]
    there = np.minimum(end, last - 1)
    itself = (end < last) & (np.asarray(split.rows)[there] == examples.row)
    return np.where(itself, end, np.maximum(end - 1, 0))


class SideRows(NamedTuple):
    """What columns say, as rows of tables of vectors, 0 where nothing is known.

    events: int32 [N, F], of the events of a split; None without columns of events.
    about: int32 [num_users, G]; None without columns of users.
    """

    events: NDArray[np.int32] | None = None
    about: NDArray[np.int32] | None = None

    def of(self, user: Ints, start: Ints, end: Ints) -> tuple[Tensor | None, Tensor | None]:
        """Those of the events ``start[b]`` to ``end[b]`` and of users: ``events`` and ``about`` of
        histories.
        """
        events = None if self.events is None else gather_rows(self.events, start, end)
        if self.about is None:
            return events, None
        return events, torch.from_numpy(self.about[user].astype(np.int64))


NO_SIDE = SideRows()


class TrainSet(Dataset[TrainBatch]):
    """Training windows, fetched as whole batches; of some ``numbers``, or all. Of events that are
    not ``learnt``, bool [N], none is a target: windows without a target are left out.
    """

    def __init__(
        self,
        split: Split,
        schema: Schema,
        width: int,
        stride: float | None,
        numbers: Ints | None = None,
        side: SideRows = NO_SIDE,
        learnt: Mask | None = None,
        shortest: int | None = None,
    ) -> None:
        self.items, self.padding, self.numbers = split.items, schema.padding, numbers
        self.side, self.learnt = side, learnt
        self.times = times_of(split)
        self.windows = Windows(split, width, stride, shortest)
        if learnt is not None:
            self.numbers = self.windows.having(learnt, numbers)
            if not len(self.numbers):
                raise UserError(
                    "task.learn=target: no window to train on has a target event after another "
                    "one. Say task.learn=all."
                )

    def __len__(self) -> int:
        return len(self.windows if self.numbers is None else self.numbers)

    def __getitems__(self, indices: list[int]) -> TrainBatch:
        chosen = np.asarray(indices)
        user, start, end = self.windows[chosen if self.numbers is None else self.numbers[chosen]]
        order = np.argsort(start - end, kind="stable")
        user, start, end = user[order], start[order], end[order]
        items, times = gather(self.items, start, end, self.padding), None
        if self.times is not None:  # what comes after a window is no target: no matter when
            times = gather_times(self.times, start, end, self.times[end - 1])
        histories = Histories(items, torch.from_numpy(user), times, *self.side.of(user, start, end))
        if self.learnt is not None:
            learnt = gather(self.learnt, start, end, 0).bool()
            histories = histories._replace(learnt=learnt)
        return TrainBatch(histories)


class EvalSet(Dataset[EvalBatch]):
    """Validation or test targets with their histories, fetched as whole batches."""

    def __init__(
        self,
        split: Split,
        examples: Examples,
        schema: Schema,
        candidates: Candidates | None = None,
        side: SideRows = NO_SIDE,
    ) -> None:
        self.items, self.schema, self.candidates = split.items, schema, candidates
        self.side = side
        self.train_counts, self.keeps_seen = split.train_counts, split.seen == "keep"
        self.user, self.end = np.asarray(examples.user), np.asarray(examples.end)
        self.target = np.asarray(examples.target)
        self.start = split.offsets[:-1][examples.user]
        self.times, self.asked = times_of(split), np.zeros(0, dtype=np.int64)
        if self.times is not None:
            self.asked = self.times[asked_at(split, examples)]

    def __len__(self) -> int:
        return len(self.end)

    def __getitems__(self, indices: list[int]) -> EvalBatch:
        number = np.asarray(indices, dtype=np.int64)
        start, end = self.start[number], self.end[number]
        latest = np.maximum(start, end - self.schema.max_len)
        order = np.argsort(latest - end, kind="stable")
        number, start, end, latest = number[order], start[order], end[order], latest[order]
        items, times = gather(self.items, latest, end, self.schema.padding), None
        if self.times is not None:
            times = gather_times(self.times, latest, end, self.asked[number])
        target, sample = self.target[number], None
        seen = pairs(self.items, end if self.keeps_seen else start, end)
        if self.candidates is not None:
            row, item = seen[0].numpy(), seen[1].numpy()
            counts = np.asarray(self.train_counts)
            drawn = self.candidates.draw(number, target, row, item, counts)
            sample = torch.from_numpy(drawn)
        user = self.user[number]
        more = self.side.of(user, latest, end)
        return EvalBatch(
            torch.from_numpy(number),
            Histories(items, torch.from_numpy(user), times, *more),
            torch.from_numpy(target),
            *seen,
            sample,
        )


@dataclass(eq=False, kw_only=True)
class SequenceData(BatchData):
    """Windows of training sequences to learn from; validation and test histories to rank.

    Args:
        split: the split to cut batches from.
        window: how many items a training window takes for a model that reads ``max_len``.
        candidates: samples to rank targets among, beside the whole catalogue.
        side: what columns say of events and users, for models that read them.
        learnt: which events may be targets of training, bool [N]; None for all.
        max_len: items that a model reads at once.
        stride: how far training windows move back, as a share of their width; None takes only the
            latest window of each user.
        shortest: items of the shortest window that moving back makes, so that beginnings of
            sequences are learnt from by themselves: with 2 and a small stride each of them, as some
            authors have it; None makes windows as wide as the model reads.
    """

    trains: ClassVar[str] = "windows"

    split: Split
    window: Callable[[int], int]
    candidates: Candidates | None = None
    side: SideRows = NO_SIDE
    learnt: Mask | None = None
    max_len: Annotated[int, Field(ge=2)] = 50
    batch_size: PositiveInt = 128
    eval_batch_size: PositiveInt = 512
    stride: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    shortest: Annotated[int, Field(ge=2)] | None = None
    _numbers: Ints | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.shortest is not None and self.stride is None:
            raise ValueError(
                f"shortest={self.shortest} is of windows that move back, and stride=null has but "
                "the latest one of each user: say a stride, such as 0.02"
            )

    @property
    def schema(self) -> Schema:
        """The facts that a model needs."""
        return Schema(self.split.num_items, self.max_len, self.split.num_users)

    def batches(self, part: Part) -> TrainSet | EvalSet:
        """Windows to train on, or histories to rank; those of the test have validation events."""
        if part == "train":
            width = self.window(self.max_len)
            known = (self._numbers, self.side, self.learnt, self.shortest)
            return TrainSet(self.split, self.schema, width, self.stride, *known)
        examples = self.split.val if part == "val" else self.split.test
        return EvalSet(self.split, examples, self.schema, self.candidates, self.side)

    def narrow(self, since: Ints, replay: float) -> tuple[int, int]:
        """Train on windows with a new event, and on a share of the others: how many of each.

        ``since``: how many of each user's training events are old, int64 [U]; ``replay``: the
        share, drawn by the seed.
        """
        windows = Windows(self.split, self.window(self.max_len), self.stride, self.shortest)
        user, _, end = windows[np.arange(len(windows))]
        new = end > self.split.offsets[user] + since[user]
        self._numbers, counts = narrowed(new, replay, self.seed)
        return counts
