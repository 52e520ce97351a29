"""Targets of examples and their ranks: what ranking metrics are computed from, and how ranks come.

Ties, and scores that are not a number, count against the model: a rank is the worst one that the
target could have.
"""

from functools import cached_property

import torch
from torch import Tensor

from lightning_rec.metrics.functional import before, by_example, ideal_rank
from lightning_rec.metrics.measure import Evidence


class Targets(Evidence):
    """P targets of G examples; see :mod:`lightning_rec.metrics.functional`.

    Args:
        example: int64 [P], number of each target's example, from 0 and rising.
        rank: int64 [P], from 1; 0 for a target that is no candidate or was not retrieved.
        gain: float [P]; None: 1 for each.
        positive: bool [P], which targets are relevant; None: those with a gain.
        candidates: int64 [G], how many are ranked; None if that is not known.
    """

    inputs = ("example", "rank", "gain", "positive", "ideal", "candidates", "k")

    def __init__(
        self,
        example: Tensor,
        rank: Tensor,
        gain: Tensor | None = None,
        positive: Tensor | None = None,
        candidates: Tensor | None = None,
    ) -> None:
        self.example, self.rank, self.candidates = example, rank, candidates
        self.gain = torch.ones_like(rank, dtype=torch.float64) if gain is None else gain
        self.positive = self.gain > 0 if positive is None else positive

    @property
    def number(self) -> int:
        """How many examples there are."""
        return int(self.example[-1]) + 1 if len(self.example) else 0

    @cached_property
    def ideal(self) -> Tensor:
        """Rank of each target in the order of the gains of its example, int64 [P]."""
        return ideal_rank(self.example, self.gain)

    @classmethod
    def sample(cls) -> "Targets":
        """Four examples, one of them with two targets, and one whose target is no candidate."""
        example, rank = torch.tensor([0, 1, 1, 2, 3]), torch.tensor([1, 4, 2, 0, 3])
        return cls(example, rank, candidates=torch.tensor([5, 5, 4, 5]))


class SingleTargets(Targets):
    """One target of each example, so that what is known of targets is known of examples."""

    @classmethod
    def sample(cls) -> "SingleTargets":
        """Four examples, one of which has a target that is no candidate."""
        rank, candidates = torch.tensor([1, 4, 0, 3]), torch.tensor([5, 5, 4, 5])
        return cls(torch.arange(4), rank, candidates=candidates)


def rank_among(
    target_score: Tensor,
    candidate_scores: Tensor,
    known: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank of each target among candidates of its own, and their number: int64 [B] each.

    ``target_score``: float [B]; ``candidate_scores``: float [B, n], without the target; ``known``:
    bool [B], False for a target that is no candidate (its rank is 0, and it is not counted), None:
    all are; ``mask``: bool [B, n], False where there is no candidate, None: all are.
    """
    known = torch.ones_like(target_score, dtype=torch.bool) if known is None else known
    mask = torch.ones_like(candidate_scores, dtype=torch.bool) if mask is None else mask
    scores = _finite(target_score).unsqueeze(1)  # [B, 1]
    ahead = ((_finite(candidate_scores) >= scores) & mask).sum(dim=1)
    return torch.where(known, ahead + 1, 0), mask.sum(dim=1) + known


def rank_within(score: Tensor, example: Tensor) -> Tensor:
    """Rank of each target among those of its example, rising, by score: int64 [P]."""
    score = _finite(score)
    order = by_example(score, example)
    ranks, of = torch.empty_like(example), example[order]
    ranks[order] = _last_alike(of, score[order]) - before(of)
    return ranks


def break_ties(rank: Tensor, gain: Tensor, example: Tensor) -> Tensor:
    """Ranks with ties among the targets of an example broken, in the worst order: int64 [P].

    Where a rank counts all items of at least the same score, targets of one score share the worst
    rank of them. One of them at most can have it: that with the highest gain gets it, the others
    those before it.
    """
    order = torch.argsort(gain, stable=True)
    order = order[torch.argsort(rank[order], stable=True)]
    order = order[torch.argsort(example[order], stable=True)]
    tied, of = rank[order], example[order]
    behind = _last_alike(of, tied) - torch.arange(1, len(of) + 1, device=of.device)
    ranks = torch.empty_like(rank)
    ranks[order] = torch.where(tied > 0, tied - behind, 0)
    return ranks


def _last_alike(*columns: Tensor) -> Tensor:
    """Place from 1 of the last of each run of rows that are alike in all columns: int64 [P]."""
    begins = torch.ones_like(columns[0], dtype=torch.bool)
    begins[1:] = torch.stack([column[1:] != column[:-1] for column in columns]).any(dim=0)
    run = torch.cumsum(begins, 0) - 1
    return torch.cumsum(torch.bincount(run), 0)[run]


def _finite(score: Tensor) -> Tensor:
    """Scores with what is not a number, or below all numbers, as the lowest number there is."""
    lowest = torch.finfo(score.dtype).min
    return score.nan_to_num(nan=lowest, neginf=lowest)
