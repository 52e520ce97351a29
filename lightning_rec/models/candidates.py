"""Candidates of a pipeline: which there are, what retrievers say of them, and what ranks them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows

LOWEST = torch.finfo(torch.float32).min
ROWS = 2**16  # candidates that a ranker reads at once


class Candidates(NamedTuple):
    """Candidates of some queries, those of a query together, by rising item code.

    row, item: int64 [P], number of the query and item code.  origin: int64 [P]; bit i says whether
    retriever i has it among its best.  features: float32 [P, F], of :attr:`Pipeline.features`.
    """

    row: Tensor
    item: Tensor
    origin: Tensor
    features: Tensor


def told(
    scores: Tensor, place: Tensor, best: Tensor, at: Tensor, codes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a retriever says of candidates: score, gap and place, float32 [P] each.

    ``scores``, ``place``: float32 [M, V]. ``best``: float32 [M, 1], the highest score.
    """
    there = scores > LOWEST
    number = there.sum(dim=1, keepdim=True).clamp(min=1)
    inside = scores.double().masked_fill(~there, 0)
    mean = inside.sum(dim=1, keepdim=True) / number
    spread = (inside - mean).masked_fill(~there, 0).square().sum(dim=1, keepdim=True)
    scale = (number / spread).sqrt().masked_fill(spread <= 0, 0)
    lowest = scores.masked_fill(~there, torch.inf).amin(dim=1, keepdim=True)
    lowest = torch.where(lowest.isinf(), 0, lowest)
    own = torch.where(there[at, codes], scores[at, codes], lowest[at, 0]).double()
    best = torch.where(best > LOWEST, best, 0).double()
    standard = (own - mean[at, 0]) * scale[at, 0]
    gap = (own - best[at, 0]) * scale[at, 0]
    return standard.float(), gap.float(), place[at, codes].log2()


class Ranker(nn.Module):
    """A model of clicks over the features of candidates, which are all numbers.

    ``names``: of the features.  ``mean``, ``deviation``: float32 [F], by which they are scaled.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, names: Sequence[str], mean: Tensor, deviation: Tensor):
        super().__init__()
        self.model, self.names = model, [*names]
        self.register_buffer("mean", mean.float())
        self.register_buffer("deviation", deviation.float())

    def forward(self, features: Tensor) -> Tensor:
        """Logits of candidates, float32 [P], of their features, float32 [P, F]."""
        made = [features.new_zeros(0)]
        for some in features.split(ROWS):
            values = (some - self.mean) / self.deviation
            ids = torch.zeros(len(some), 0, dtype=torch.int32, device=some.device)
            made.append(self.model(Rows(ids, values)).float())
        return torch.cat(made)


def ranker_schema(names: Sequence[str]) -> ClickSchema:
    """What a model of clicks is told of features that are all numbers."""
    fields = (Field(name, "numeric", 1 + place, 1, 0) for place, name in enumerate(names))
    return ClickSchema(tuple(fields))
