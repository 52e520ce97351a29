"""The leave-one-out split of the event file, and the ranker that every library is held to.

A user's lines stand in order of time: the last event is the test target, the one before it the
validation target, the rest is train. Ids are recoded from 0 in the order of the file's own ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

TOP = 10


@dataclass(frozen=True)
class Split:
    """Sequences and targets; user ``u`` is row ``u`` of every field."""

    train: list[np.ndarray]  # the training sequence of each user, and the input of validation
    val: np.ndarray  # [U]
    test: np.ndarray  # [U]
    n_items: int

    def train_columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """User, item and position in the user's sequence of every train event."""
        lengths = [len(seq) for seq in self.train]
        position = np.concatenate([np.arange(n) for n in lengths])
        return np.repeat(np.arange(len(lengths)), lengths), np.concatenate(self.train), position


def load_split(path: Path) -> Split:
    """Read lines of ``user item`` and split them."""
    user, raw = np.loadtxt(path, dtype=np.int64, unpack=True)
    items, item = np.unique(raw, return_inverse=True)
    starts = np.flatnonzero(np.diff(user, prepend=user[0] - 1))
    if len(starts) != len(np.unique(user)):
        raise ValueError(f"{path.name}: the lines of a user must stand together")
    sequences = np.split(item, starts[1:])
    return Split(
        train=[seq[:-2] for seq in sequences],
        val=np.array([seq[-2] for seq in sequences]),
        test=np.array([seq[-1] for seq in sequences]),
        n_items=len(items),
    )


def ndcg(batches: Iterable[torch.Tensor], split: Split) -> float:
    """Exact validation ndcg@10 over all items but the user's train items.

    ``batches`` are scores [B, n_items], together of the users 0, 1, 2, … The rank of a target is
    the number of items that do not score below it, so a tie or a NaN never helps.
    """
    total, first = 0.0, 0
    for scores in batches:
        users = range(first, first + len(scores))
        seen = [split.train[u] for u in users]
        row = np.repeat(np.arange(len(seen)), [len(seq) for seq in seen])
        scores = scores.clone()
        scores[torch.from_numpy(row), torch.from_numpy(np.concatenate(seen))] = -torch.inf
        target = torch.from_numpy(split.val[first : first + len(scores)])
        wanted = scores.gather(1, target[:, None])  # [B, 1]
        rank = (~(scores < wanted)).sum(1).double()  # [B], 1 is best
        total += torch.where(rank <= TOP, 1 / torch.log2(rank + 1), 0.0).sum().item()
        first += len(scores)
    if first != len(split.val):
        raise ValueError(f"scores of {first} users, expected {len(split.val)}")
    return total / first
