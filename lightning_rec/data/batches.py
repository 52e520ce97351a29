"""Whole batches cut from a split at once: typed tuples, data sets and the sampler behind them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lightning_rec.data.split import Examples, Ints, Schema, Split


class TrainBatch(NamedTuple):
    """A batch to learn from.

    items: int64 [B, L]; item codes, oldest first, padded on the left to the longest of the batch,
        so that the latest item always stands at ``[:, -1]``.
    """

    items: Tensor


class EvalBatch(NamedTuple):
    """A batch to rank.

    example: int64 [B]; the examples' numbers.
    items: int64 [B, L]; histories, padded on the left, cut to the latest ``max_len`` items.
    target: int64 [B]; item codes, -1 for an item without training events.
    seen_row, seen_item: int64 [S]; all pairs (row of this batch, item in that row's history),
        the whole history and not only its latest items.
    """

    example: Tensor
    items: Tensor
    target: Tensor
    seen_row: Tensor
    seen_item: Tensor


def windows(split: Split, max_len: int, stride: float | None) -> tuple[Ints, Ints]:
    """Cut training sequences into windows of at most ``max_len`` items, latest first.

    Args:
        split: the split whose training events are cut.
        max_len: longest window.
        stride: how far a window moves back, as a share of ``max_len`` (BERT4Rec's code calls it
            ``prop_sliding_window``); None takes only each user's latest window.

    Returns:
        start, end: int64 [W], positions in ``split.items``.
    """
    start, end = np.asarray(split.offsets[:-1]), np.asarray(split.train_end)
    length = end - start
    keep = length >= 2  # one item leaves nothing to predict it from
    start, end, length = start[keep], end[keep], length[keep]
    if stride is None:
        return np.maximum(start, end - max_len), end
    step = max(1, round(stride * max_len))
    number = 1 + np.maximum(0, -(-(length - max_len) // step))
    owner = np.repeat(np.arange(len(start)), number)
    back = np.arange(number.sum()) - (np.cumsum(number) - number)[owner]
    window_end = np.maximum(end[owner] - back * step, np.minimum(start + max_len, end)[owner])
    return np.maximum(start[owner], window_end - max_len), window_end


def gather(items: NDArray[np.int32], start: Ints, end: Ints, padding: int) -> Tensor:
    """Cut ``items[start[b]:end[b]]`` for all b at once, padded on the left: int64 [B, L]."""
    longest = int((end - start).max(initial=1))
    at = end[:, None] - longest + np.arange(longest)  # [B, L]
    inside = at >= start[:, None]
    block = np.where(inside, items[np.where(inside, at, 0)], padding)
    return torch.from_numpy(block.astype(np.int64))


class TrainSet(Dataset[TrainBatch]):
    """Training windows, fetched as whole batches."""

    def __init__(self, split: Split, schema: Schema, stride: float | None) -> None:
        self.items, self.padding = split.items, schema.padding
        self.start, self.end = windows(split, schema.max_len, stride)

    def __len__(self) -> int:
        return len(self.start)

    def __getitems__(self, indices: list[int]) -> TrainBatch:
        """Fetch the windows with these numbers."""
        return TrainBatch(gather(self.items, self.start[indices], self.end[indices], self.padding))


class EvalSet(Dataset[EvalBatch]):
    """Validation or test targets with their histories, fetched as whole batches."""

    def __init__(self, split: Split, examples: Examples, schema: Schema) -> None:
        self.items, self.schema = split.items, schema
        self.end, self.target = np.asarray(examples.end), np.asarray(examples.target)
        self.start = split.offsets[:-1][examples.user]

    def __len__(self) -> int:
        return len(self.end)

    def __getitems__(self, indices: list[int]) -> EvalBatch:
        """Fetch the examples with these numbers."""
        start, end = self.start[indices], self.end[indices]
        length = end - start
        row = np.repeat(np.arange(len(indices)), length)
        at = np.arange(length.sum()) - (np.cumsum(length) - length)[row] + start[row]
        latest = np.maximum(start, end - self.schema.max_len)
        return EvalBatch(
            example=torch.tensor(indices, dtype=torch.int64),
            items=gather(self.items, latest, end, self.schema.padding),
            target=torch.from_numpy(self.target[indices]),
            seen_row=torch.from_numpy(row),
            seen_item=torch.from_numpy(self.items[at].astype(np.int64)),
        )


class BatchSampler(Sampler[list[int]]):
    """Cuts ``range(size)`` into batches and deals whole batches to processes in turn.

    Every process sees batches of the same make-up however many processes there are, so
    evaluation gives the same bits on one and on many; nothing is padded, repeated or dropped. A
    process that is left without any gets one empty batch.
    In training (``shuffle``) the order depends on the seed and the epoch alone, which lets a
    resumed run repeat it, and the batches left over when they cannot be dealt evenly are dropped
    for that epoch, since every process must take the same number of steps.
    """

    def __init__(
        self, size: int, batch_size: int, *, shuffle: bool, seed: int, rank: int, processes: int
    ) -> None:
        self.size, self.batch_size, self.shuffle = size, batch_size, shuffle
        self.seed, self.rank, self.processes = seed, rank, processes
        self.epoch = 0

    @property
    def sampler(self) -> "BatchSampler":
        """Lightning looks here for an object whose epoch it may set."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        batches = -(-self.size // self.batch_size)
        if self.shuffle:
            return max(1, batches // self.processes)
        # Lightning skips evaluation on a process without batches, and the others wait for it.
        return max(1, len(range(self.rank, batches, self.processes)))

    def __iter__(self) -> Iterator[list[int]]:
        order: Sequence[int] = range(self.size)
        if self.shuffle:
            generator = np.random.default_rng([self.seed, self.epoch])
            order = generator.permutation(self.size).tolist()
        for number in range(len(self)):
            batch = number * self.processes + self.rank
            if self.shuffle:  # with fewer batches than processes, some take the same one
                batch %= -(-self.size // self.batch_size)
            yield list(order[batch * self.batch_size : (batch + 1) * self.batch_size])
