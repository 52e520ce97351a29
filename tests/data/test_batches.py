"""Windows, whole batches, seen items, and who gets which batch."""

import random
from collections import Counter
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from lightning_rec.data.batches import (
    EvalSet,
    SequenceData,
    TrainBatch,
    TrainSet,
    gather,
)
from lightning_rec.data.core.batches import BatchSampler
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.split import Examples, Schema, Split
from lightning_rec.data.windows import Windows


def split_of(train_lengths: list[int], later: int = 2) -> Split:
    """Users with these numbers of training events, each with ``later`` events after them."""
    lengths = np.array(train_lengths)
    offsets = np.append(0, np.cumsum(lengths + later))
    items = np.arange(offsets[-1], dtype=np.int32)  # each event its own item: places are told apart
    none = np.zeros(0, dtype=np.int64)
    empty = Examples(none, none, none, none, none > 0)
    return Split(
        offsets, items, np.arange(len(items)), offsets[:-1] + lengths, np.arange(len(items)),
        np.ones(len(items), dtype=np.int64), empty, empty, None, {},
    )  # fmt: skip


@pytest.mark.parametrize("stride", [None, 0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("max_len", [2, 5, 8])
def test_windows_cover_all_training_events_and_no_other(max_len: int, stride: float | None) -> None:
    lengths = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 31]
    split = split_of(lengths)
    found: dict[int, list[range]] = {user: [] for user in range(len(lengths))}
    windows = Windows(split, max_len, stride)
    cut = windows[np.arange(len(windows))]
    for user, start, end in zip(*(column.tolist() for column in cut), strict=True):
        assert split.offsets[user] <= start
        found[user].append(range(start, end))
    for user, length in enumerate(lengths):
        events = range(split.offsets[user], split.offsets[user] + length)
        if length < 2:
            assert found[user] == []  # one event leaves nothing to predict it from
            continue
        ends = [window.stop for window in found[user]]
        assert ends == sorted(set(ends), reverse=True)  # latest first, none twice
        assert ends[0] == events.stop
        assert {len(window) for window in found[user]} == {min(length, max_len)}
        covered = {event for window in found[user] for event in window}
        assert covered == set(events if stride else events[-max_len:])
        assert stride or len(ends) == 1


def test_windows_of_beginnings_end_at_each_event() -> None:
    split = split_of([0, 1, 2, 3, 7])
    windows = Windows(split, 4, 0.1, shortest=2)
    user, start, end = windows[np.arange(len(windows))]
    found = {(u, s - split.offsets[u], e - split.offsets[u])
             for u, s, e in zip(user, start, end, strict=True)}  # fmt: skip
    assert len(found) == len(windows)
    of_seven = {(4, max(0, end - 4), end) for end in range(2, 8)}
    assert found == {(2, 0, 2), (3, 0, 2), (3, 0, 3), *of_seven}
    assert len(Windows(split, 4, 0.5, shortest=3)) == 1 + 1 + 3  # of seven: 7, 5 and 3 events
    for shortest in (None, 4, 9):  # none is cut short
        assert len(Windows(split, 4, 0.1, shortest)) == 1 + 1 + 4
    assert len(Windows(split, 4, None, shortest=2)) == 3
    with pytest.raises(ValueError, match=r"shortest=2 .* say a stride"):
        SequenceData(split=split, window=lambda width: width, seed=0, shortest=2, stride=None)


@pytest.mark.parametrize("stride", [0.5, 1.0])
def test_windows_of_one_are_the_training_events(stride: float) -> None:
    split = split_of([0, 1, 2, 5])
    windows = Windows(split, 1, stride)
    user, start, end = windows[np.arange(len(windows))]
    assert (end - start == 1).all()
    assert sorted(start.tolist()) == [2, 5, 6, *range(9, 14)]
    assert (split.offsets[user] <= start).all()
    assert (start < split.train_end[user]).all()


def test_gather_cuts_and_pads_on_the_right() -> None:
    items = np.arange(100, 130, dtype=np.int32)
    start, end = np.array([0, 3, 10, 29]), np.array([2, 9, 11, 30])
    expected = [
        list(range(100 + s, 100 + e)) + [-7] * (6 - (e - s))
        for s, e in zip(start, end, strict=True)
    ]
    cut = gather(items, start, end, padding=-7)
    assert cut.tolist() == expected
    assert cut.dtype == torch.int64


def unpadded(row: torch.Tensor, padding: int) -> list[int]:
    """A row without its padding, which must stand on the right alone."""
    length = int((row != padding).sum())
    assert (row[length:] == padding).all()
    cut: list[int] = row[:length].tolist()
    return cut


def pairs_of(row: int, rows: torch.Tensor, items: torch.Tensor) -> list[int]:
    return [item for r, item in zip(rows.tolist(), items.tolist(), strict=True) if r == row]


def test_a_training_batch_holds_its_windows_longest_first(
    leave_one_out: Split, schema: Schema
) -> None:
    data = TrainSet(leave_one_out, schema, width=9, stride=0.5)
    chosen = [5, 0, 1, len(data) - 1]
    batch = data.__getitems__(chosen)
    cut = data.windows[np.array(chosen)]
    expected = [tuple(map(int, window)) for window in zip(*cut, strict=True)]
    expected.sort(key=lambda window: window[1] - window[2])
    for row, (user, start, end) in enumerate(expected):
        window = leave_one_out.items[start:end].tolist()
        assert unpadded(batch.histories.items[row], schema.padding) == window
        assert batch.histories.user[row] == user
        when = leave_one_out.times[start:end].tolist()
        width = batch.histories.items.shape[1] + 1
        assert batch.histories.times[row].tolist() == when + when[-1:] * (width - len(when))


@pytest.mark.parametrize("protocol", ["leave_one_out", "temporal"])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_an_evaluation_batch_against_slices(
    protocol: str, stage: str, request: pytest.FixtureRequest
) -> None:
    split: Split = request.getfixturevalue(protocol)
    examples: Examples = getattr(split, stage)
    schema = Schema(split.num_items, 6, split.num_users)
    chosen = random.Random(0).sample(range(examples.size), 9)
    batch = EvalSet(split, examples, schema).__getitems__(chosen)
    assert sorted(batch.example.tolist()) == sorted(chosen)
    lengths = (batch.histories.items != schema.padding).sum(dim=1).tolist()
    assert lengths == sorted(lengths, reverse=True)
    for row, number in enumerate(batch.example.tolist()):
        user = examples.user[number]
        history = split.items[split.offsets[user] : examples.end[number]].tolist()
        latest = history[-schema.max_len :]
        assert unpadded(batch.histories.items[row], schema.padding) == latest
        assert batch.histories.user[row] == user
        # all of it, not the latest alone
        assert pairs_of(row, batch.seen_row, batch.seen_item) == history
        assert batch.target[row] == examples.target[number]
        when = split.times[split.offsets[user] : examples.end[number] + 1].tolist()
        assert split.rows[examples.end[number]] == examples.row[number]  # the target is next
        when = when[-1 - len(latest) :]
        assert batch.histories.times[row, : len(when)].tolist() == when
    unordered = EvalSet(replace(split, order="none"), examples, schema).__getitems__(chosen)
    assert unordered.histories.times is None
    kept = EvalSet(replace(split, seen="keep"), examples, schema).__getitems__(chosen)
    assert not len(kept.seen_row) + len(kept.seen_item)
    assert torch.equal(kept.histories.items, batch.histories.items)


def test_a_target_that_is_not_kept_is_asked_at_the_time_of_the_latest_item() -> None:
    split = replace(split_of([3, 2]), times=np.array([1.5, 2, 3, 9, 9, 4, 5, 9, 9]))
    asked = Examples(
        np.array([0, 1]), np.array([3, 7]), np.array([3, -1]), np.array([3, 99]), np.zeros(2, bool)
    )
    batch = EvalSet(split, asked, Schema(9, 4, 2)).__getitems__([0, 1])
    assert batch.histories.times.tolist() == [[1, 2, 3, 9], [4, 5, 5, 5]]


def joined(parts: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def dealt(
    size: int, rank: int, processes: int, *, shuffle: bool, seed: int = 1, epoch: int = 0
) -> list[list[int]]:
    sampler = BatchSampler(size, 4, shuffle=shuffle, seed=seed, rank=rank, processes=processes)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    return batches


@pytest.mark.parametrize("size", [1, 3, 4, 5, 16, 23])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_evaluation_deals_every_batch_once_on_any_number_of_processes(
    size: int, processes: int
) -> None:
    alone = dealt(size, 0, 1, shuffle=False)
    assert joined(alone) == list(range(size))
    shares = [dealt(size, rank, processes, shuffle=False) for rank in range(processes)]
    # A process that is left without any gets one empty batch, for Lightning to go on.
    assert sorted(batch for batch in joined(shares) if batch) == alone


@pytest.mark.parametrize("size", [1, 3, 4, 5, 16, 23, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_training_gives_each_process_as_many_steps_and_no_row_twice(
    size: int, processes: int
) -> None:
    shares = [dealt(size, rank, processes, shuffle=True) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    alone = dealt(size, 0, 1, shuffle=True)
    batches = joined(shares)
    assert all(batch in alone for batch in batches)
    if processes <= len(alone):
        assert max(Counter(map(tuple, batches)).values()) == 1
        assert len(alone) - len(batches) < processes  # fewer are left out than there are processes


def test_the_order_of_training_depends_on_seed_and_epoch_alone() -> None:
    first = dealt(50, 0, 1, shuffle=True)
    np.random.default_rng(0).random()
    torch.manual_seed(99)
    assert dealt(50, 0, 1, shuffle=True) == first
    assert sorted(joined(first)) == list(range(50))
    others = [
        dealt(50, 0, 1, shuffle=True, seed=seed, epoch=epoch)
        for seed, epoch in ((2, 0), (1, 1), (2, 1))
    ]
    assert all(other != first for other in others)
    assert others[0] != others[1]


class Watcher(pl.LightningModule):
    """Writes down what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs: dict[int, list[torch.Tensor]] = {}

    def training_step(self, batch: TrainBatch, index: int) -> torch.Tensor:
        self.epochs.setdefault(self.current_epoch, []).append(batch.histories.items)
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_shuffles_anew_each_epoch_and_shows_every_window(leave_one_out: Split) -> None:
    data = SequenceData(
        split=leave_one_out, seed=1, window=lambda max_len: max_len, max_len=10, batch_size=16
    )
    watcher = Watcher()
    pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
    ).fit(watcher, DataModule(data))  # fmt: skip
    first, second = (
        [
            tuple(row[row != data.schema.padding].tolist())
            for batch in watcher.epochs[epoch]
            for row in batch
        ]
        for epoch in (0, 1)
    )
    assert first != second
    windows = Windows(leave_one_out, 10, 0.5)
    _, start, end = windows[np.arange(len(windows))]
    expected = Counter(
        tuple(leave_one_out.items[s:e].tolist()) for s, e in zip(start, end, strict=True)
    )
    assert Counter(first) == Counter(second) == expected
