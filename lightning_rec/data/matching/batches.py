"""Whole batches of pairs and of queries, by their codes."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.core.batches import BatchData, Part
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.split import ranges
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
    """The pairs of the training queries, or the relevant ones. Raises UserError if none."""

    def __init__(self, matches: Matches, positives: bool) -> None:
        self.pairs = matches.pairs
        at = matches.pairs_of("train")
        self.at = at[self.pairs.positive[at]] if positives else at
        if not len(self.at):
            raise UserError(
                f"None of the {len(at):,} pairs to train on is relevant: lower data.positive_from."
            )

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

    def batches(self, part: Part) -> PairSet | QuerySet:
        """Pairs to train on, or the queries of another part."""
        if part == "train":
            return PairSet(self.matches, self.positives)
        return QuerySet(self.matches, part)
