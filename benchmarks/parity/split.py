"""The leave-one-out split of MovieLens-100K and the top-k evaluator that every library is held to.

Every rating is an interaction. A user's events are sorted by time, ties in the order of the file;
the last event is the test target, the one before it the validation target, the rest is train. The
vocabulary is the items of train: ids run from 0 to ``n_items - 1``, any other item is ``UNKNOWN``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

UNKNOWN = -1
TOP = 20
RECALL_AT = (1, 5, 10, 20)
NDCG_AT = (5, 10, 20)


@dataclass(frozen=True)
class Split:
    """Sequences and targets in encoded ids; user ``u`` is row ``u`` of every field."""

    train: list[np.ndarray]  # the training sequence of each user, and the input of validation
    train_times: list[np.ndarray]  # its timestamps, in seconds
    val_target: np.ndarray  # [U]
    val_time: np.ndarray  # [U]
    test_target: np.ndarray  # [U]
    vocabulary: np.ndarray  # [n_items], the id of each item in the file

    @property
    def n_items(self) -> int:
        """Number of candidates."""
        return len(self.vocabulary)

    @property
    def test_input(self) -> list[np.ndarray]:
        """The training sequence with the validation item appended, where the vocabulary has it."""
        pairs = zip(self.train, self.val_target, strict=True)
        return [seq if item == UNKNOWN else np.append(seq, item) for seq, item in pairs]


def load_split(inter_file: Path) -> Split:
    """Read a tab-separated ``.inter`` file of user, item, rating, timestamp and split it."""
    columns = ["user", "item", "rating", "time"]
    events = pd.read_csv(inter_file, sep="\t", header=0, names=columns)
    users = [u for _, u in events.sort_values("time", kind="stable").groupby("user", sort=True)]
    vocabulary = np.unique(np.concatenate([u["item"].to_numpy()[:-2] for u in users]))
    code = {item: i for i, item in enumerate(vocabulary)}
    items = [np.array([code.get(i, UNKNOWN) for i in u["item"]], dtype=np.int64) for u in users]
    times = [u["time"].to_numpy().astype(np.int64) for u in users]
    return Split(
        train=[seq[:-2] for seq in items],
        train_times=[t[:-2] for t in times],
        val_target=np.array([seq[-2] for seq in items]),
        val_time=np.array([t[-2] for t in times]),
        test_target=np.array([seq[-1] for seq in items]),
        vocabulary=vocabulary,
    )


def evaluate(top: np.ndarray, target: np.ndarray, history: list[np.ndarray]) -> dict[str, float]:
    """Metrics of the best ``TOP`` items per user [U, TOP] against one target each [U].

    A target outside the list, or outside the vocabulary, counts 0. Raises if a list holds an item
    of the user's own history, or an item twice.
    """
    if top.shape != (len(target), TOP):
        raise ValueError(f"expected lists of shape {(len(target), TOP)}, got {top.shape}")
    for items, seen in zip(top, history, strict=True):
        if len(np.unique(items)) != TOP or np.isin(items, seen).any():
            raise ValueError("a list holds a seen or a repeated item")
    hit = top == target[:, None]  # [U, TOP]
    rank = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)  # [U], 1 is best
    recall = {f"recall@{k}": float((rank <= k).mean()) for k in RECALL_AT}
    gain = 1 / np.log2(rank + 1)
    ndcg = {f"ndcg@{k}": float(np.where(rank <= k, gain, 0.0).mean()) for k in NDCG_AT}
    return recall | ndcg | {f"mrr@{TOP}": float((1 / rank).mean())}
