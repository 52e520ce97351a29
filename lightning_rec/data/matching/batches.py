"""Whole batches of pairs and of queries, by their codes."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.core.batches import BatchData, Part, narrowed
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError


class PairBatch(NamedTuple):
    """Some pairs to learn from: codes, int64 [B], and relevance from 0 to 1, float32 [B]."""

    query: Tensor
    item: Tensor
    gain: Tensor


class QueryBatch(NamedTuple):
    """Some queries, int64 [B] codes, with all S pairs that are judged of them, query by query: the
    row of each pair's query in this batch, the code of its item, and its number, int64 [S].
    """

    query: Tensor
    row: Tensor
    item: Tensor
    pair: Tensor


class PairSet(Dataset[PairBatch]):
    """The pairs of the training queries, or the relevant ones; of these those ``chosen``, int64
    numbers, if not all. Raises UserError if there are none.
    """

    def __init__(self, matches: Matches, positives: bool, chosen: Ints | None = None) -> None:
        self.pairs = matches.pairs
        at = matches.pairs_of("train")
        self.at = at[self.pairs.positive[at]] if positives else at
        if not len(self.at):
            raise UserError(
                f"None of the {len(at):,} pairs to train on is relevant: lower data.positive_from."
            )
        self.at = self.at if chosen is None else self.at[chosen]

    def __len__(self) -> int:
        return len(self.at)

    def __getitems__(self, indices: list[int]) -> PairBatch:
        at = self.at[np.asarray(indices, dtype=np.int64)]
        return PairBatch(
            torch.from_numpy(self.pairs.query[at]),
            torch.from_numpy(self.pairs.item[at].astype(np.int64)),
            torch.from_numpy(self.pairs.gain[at]),
        )


class QuerySet(Dataset[QueryBatch]):
    """The queries of a part, ``val`` or ``test``, fetched as whole batches."""

    def __init__(self, matches: Matches, part: str) -> None:
        self.pairs, self.queries = matches.pairs, matches.part(part)

    def __len__(self) -> int:
        return len(self.queries)

    def __getitems__(self, indices: list[int]) -> QueryBatch:
        query = self.queries[np.asarray(indices, dtype=np.int64)]
        row, at = ranges(self.pairs.offsets[query], self.pairs.offsets[query + 1])
        return QueryBatch(
            torch.from_numpy(query),
            torch.from_numpy(row),
            torch.from_numpy(self.pairs.item[at].astype(np.int64)),
            torch.from_numpy(at),
        )


@dataclass(eq=False, kw_only=True)
class MatchData(BatchData):
    """Shuffled training pairs to learn from; the queries of validation and test in their order.

    Args:
        matches: the pairs that batches are cut from.
        positives: learn from relevant pairs alone.
    """

    matches: Matches
    positives: bool = False
    batch_size: PositiveInt = 64
    eval_batch_size: PositiveInt = 128
    trains: ClassVar[str] = "pairs"
    _chosen: Ints | None = field(default=None, init=False)

    def batches(self, part: Part) -> PairSet | QuerySet:
        """Pairs to train on, or the queries of another part."""
        if part == "train":
            return PairSet(self.matches, self.positives, self._chosen)
        return QuerySet(self.matches, part)

    def narrow(self, since: Ints, replay: float) -> tuple[int, int]:
        """Train on new pairs, and on a share of the old ones: how many of each.

        ``since``: of each pair of the training queries, 1 if it is old, else 0: int64; ``replay``:
        the share, drawn by the seed.
        """
        every = self.matches.pairs_of("train")
        kept = self.matches.pairs.positive[every] if self.positives else np.ones(len(every), bool)
        self._chosen, counts = narrowed(since[kept] == 0, replay, self.seed)
        return counts
