"""Ranking metrics over (example, rank, gain): pure functions, any number of targets per example.

P targets of G examples: the next item of a user (one each), the judged items of a query, the clicks
of a user. ``example`` is int64 [P], the number of each target's example, from 0 and rising, none
left out. ``rank`` is int64 [P], from 1 and different for the targets of an example; 0 is a target
that is no candidate or was not retrieved, which is a miss at every cut-off. ``gain`` is float [P],
``positive`` bool [P]: which targets are relevant. Each metric is float64 [G], one value per
example, NaN where an example has no relevant target, and so no such metric. Sums are made in the
order of the targets, so that they do not depend on who computed what.
"""

import torch
from torch import Tensor


def recall(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Share of the relevant targets in the top ``k``; of a single target: the hit rate."""
    return _hits(example, rank, positive, k) / _relevant(example, positive)


def precision(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Share of the top ``k`` that is relevant."""
    hits = _hits(example, rank, positive, k)
    return hits.where(_relevant(example, positive) > 0, torch.nan) / k


def f1(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Harmonic mean of precision and recall; of a single target: ``2 / (k + 1)`` for a hit."""
    relevant = _relevant(example, positive)
    hits = _hits(example, rank, positive, k).where(relevant > 0, torch.nan)
    return hits * 2 / (k + relevant)


def ndcg(
    example: Tensor, rank: Tensor, gain: Tensor, k: int, ideal: Tensor | None = None
) -> Tensor:
    """Discounted gains of the top ``k`` over those of the ideal order of the targets.

    Järvelin and Kekäläinen, TOIS 2002: sum of gain / log2(rank + 1), linear in the gain. Not
    defined for an example without any gain. ``ideal``: as of :func:`ideal_rank`, if it is known.
    """
    best = ideal_rank(example, gain) if ideal is None else ideal
    return _discounted(example, rank, gain, k) / _discounted(example, best, gain, k)


def mrr(example: Tensor, rank: Tensor, positive: Tensor) -> Tensor:
    """Reciprocal rank of the first relevant target, 0 if none was found."""
    each = torch.where(positive & (rank > 0), 1 / rank.double().clamp(min=1), 0.0)
    best = each.new_zeros(_number(example)).scatter_reduce(0, example, each, "amax")
    return best.where(_relevant(example, positive) > 0, torch.nan)


def mrr_at(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Reciprocal rank of the first relevant target within the top ``k``, else 0."""
    return mrr(example, torch.where(rank <= k, rank, 0), positive)


def average_precision(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Mean, over the relevant targets that the top ``k`` can hold, of the precision at each rank.

    A target that is not in the top ``k`` adds 0; of a single target: the reciprocal rank.
    """
    inside = positive & (rank > 0) & (rank <= k)
    order = torch.argsort(example[inside] * (k + 1) + rank[inside])
    rank, of = rank[inside][order], example[inside][order]
    hits = torch.arange(1, len(of) + 1, device=of.device) - before(of, _number(example))
    relevant = _relevant(example, positive)
    each = torch.zeros_like(relevant).index_add(0, of, hits.double() / rank.double())
    return each / relevant.clamp(max=k).where(relevant > 0, torch.nan)


def auc(example: Tensor, rank: Tensor, positive: Tensor, candidates: Tensor) -> Tensor:
    """Chance that a relevant target is ahead of another candidate: the area under the ROC curve.

    One target of n candidates has ``(n - rank) / (n - 1)``; a miss adds 0. A target without any
    other candidate is ahead of all there are. ``candidates``: int64 [G], how many are ranked,
    relevant ones included.
    """
    found = positive & (rank > 0)
    relevant, hits = _relevant(example, positive), _sums(found.double(), example)
    behind = torch.where(found, candidates[example] - rank, 0).double()
    won = _sums(behind, example) - hits * (hits - 1) / 2  # the other relevant ones are not beaten
    others = candidates - hits
    share = torch.where(others > 0, won / others.clamp(min=1), hits)
    return (share / relevant).where(relevant > 0, torch.nan)


def ideal_rank(example: Tensor, gain: Tensor) -> Tensor:
    """Rank of each target if those of an example were in the order of their gains: int64 [P]."""
    if len(example) == _number(example):
        return torch.ones_like(example)
    order, ideal = by_example(gain, example), torch.empty_like(example)
    ideal[order] = torch.arange(1, len(example) + 1, device=example.device) - before(example[order])
    return ideal


def by_example(score: Tensor, example: Tensor) -> Tensor:
    """Order of the targets by example, the highest scores of each first: int64 [P]."""
    order = torch.argsort(score, descending=True, stable=True)
    return order[torch.argsort(example[order], stable=True)]


def before(example: Tensor, number: int = 0) -> Tensor:
    """How many targets earlier examples have, int64 [P]; ``example`` is rising."""
    counts = torch.bincount(example, minlength=number)
    return (torch.cumsum(counts, 0) - counts)[example]


def _hits(example: Tensor, rank: Tensor, positive: Tensor, k: int) -> Tensor:
    """Relevant targets in the top ``k`` of each example, float64 [G]."""
    return _sums((positive & (rank > 0) & (rank <= k)).double(), example)


def _relevant(example: Tensor, positive: Tensor) -> Tensor:
    """Relevant targets of each example, float64 [G]."""
    return _sums(positive.double(), example)


def _discounted(example: Tensor, rank: Tensor, gain: Tensor, k: int) -> Tensor:
    inside = (rank > 0) & (rank <= k)
    each = torch.where(inside, gain.double() / torch.log2(rank.double() + 1), 0.0)
    return _sums(each, example)


def _sums(values: Tensor, example: Tensor) -> Tensor:
    return values.new_zeros(_number(example)).index_add_(0, example, values)


def _number(example: Tensor) -> int:
    return int(example[-1]) + 1 if len(example) else 0
