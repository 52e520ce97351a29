"""Candidates of a pipeline: which there are, what retrievers say of them, and what ranks them."""

from collections.abc import Sequence, Sized
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.errors import UserError, listed
from lightning_rec.models.best import best

LOWEST = torch.finfo(torch.float32).min
MOST = 24  # retrievers: a number of 24 bits is a whole one in float32
FUSED = 60  # k of reciprocal rank fusion, where nothing ranks
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


class Gathered:
    """What retrievers say of a catalogue of V items for M queries, one retriever after the other.

    bits: int64 [M, V]; bit i says whether retriever i has an item among its best.
    """

    def __init__(self, size: int, num_items: int, device: torch.device) -> None:
        self.bits = torch.zeros(size, num_items, dtype=torch.int64, device=device)
        self._each: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, scores: Tensor, quota: int, allowed: Tensor | None = None) -> None:
        """Take the best ``quota`` of what is ``allowed``, bool [V], by the scores of one retriever.

        ``scores``: float32 [M, V]; :data:`LOWEST` says that an item is not found. They are compared
        over what is not allowed as well, as where the ranker learnt.
        """
        offered = scores if allowed is None else scores.masked_fill(~allowed, LOWEST)
        values, codes = best(offered, quota, floor=LOWEST)
        self.bits.scatter_add_(1, codes, (values > LOWEST).long() << len(self._each))
        place = scores.new_full(scores.shape, quota + 1)
        ranks = torch.arange(1, codes.shape[1] + 1, device=scores.device)
        place.scatter_(1, codes, ranks.expand(len(scores), -1).to(place))
        self._each.append((scores, place, scores.amax(dim=1, keepdim=True)))

    def columns(self, at: Tensor, codes: Tensor) -> list[Tensor]:
        """Of queries and items, int64 [P] each: score, gap and place by each retriever, and how
        many have the item among their best, [P] each.
        """
        made = [column for of in self._each for column in told(*of, at, codes)]
        origin = self.bits[at, codes]
        found_by = [origin >> number & 1 for number in range(len(self._each))]
        return [*made, torch.stack(found_by).sum(dim=0)]


def fused(origin: Tensor, features: Tensor, retrievers: int) -> Tensor:
    """Reciprocal rank fusion, float32 [P]: the sum of 1 / (60 + rank) over the retrievers that have
    an item among their best. Arguments as of :class:`Candidates`.
    """
    made = torch.zeros(len(origin), dtype=torch.float64, device=origin.device)
    for number in range(retrievers):
        rank = features[:, 3 * number + 2].double().exp2().round()
        made += (origin >> number & 1) / (FUSED + rank)
    return made.float()


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


def check_quotas(quotas: Sized, members: int) -> None:
    """Raise UserError if there is not a quota for each retriever, or there are too many of them."""
    if members > MOST or len(quotas) != members:
        raise UserError(f"model.quotas: say one for each of 1 to {MOST} retrievers.")


def check_features(ranker: Ranker | None, features: Sequence[str]) -> None:
    """Raise UserError if a ranker was trained on other features than there are."""
    if ranker is not None and ranker.names != [*features]:
        raise UserError(
            f"model.ranker was trained on {listed(ranker.names, 40)}, and candidates here have "
            f"{listed(features, 40)}: train it on those of these retrievers."
        )
