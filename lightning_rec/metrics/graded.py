"""Ranking metrics where a query has several items, each of its own gain: pure functions of ranks.

P judged pairs of G queries. A pair's rank is that of its item among what was ranked for its query;
ranks are int64 [P] from 1, and 0 says that the item was not found. ``group`` is int64 [P], the
number of each pair's query, from 0 and rising. Every metric is one float64 value per query, float64
[G], NaN where it is not defined.
"""

import torch
from torch import Tensor


def ranks_within(score: Tensor, group: Tensor) -> Tensor:
    """Rank of each pair among those of its query, by score; ties count against it: int64 [P].

    Args:
        score: float [P]; what is not a number counts as the lowest.
        group: int64 [P], rising.
    """
    lowest = torch.finfo(score.dtype).min
    order = _order(score.nan_to_num(nan=lowest, neginf=lowest), group)
    score, group = score.nan_to_num(nan=lowest, neginf=lowest)[order], group[order]
    ranks = torch.empty_like(group)
    ranks[order] = _last(group, score) - _before(group)
    return ranks


def parted(rank: Tensor, gain: Tensor, group: Tensor) -> Tensor:
    """Ranks with ties among judged items of a query parted, in the worst order that they allow.

    Where a rank counts all items of at least the same score, items of one score share the worst
    rank of them. One of them at most can have it: that with the highest gain gets it, the others
    those before it. int64 [P].
    """
    order = torch.argsort(gain, stable=True)
    order = order[torch.argsort(rank[order], stable=True)]
    order = order[torch.argsort(group[order], stable=True)]
    in_order, of = rank[order], group[order]
    behind = _last(of, in_order) - torch.arange(1, len(of) + 1, device=of.device)
    ranks = torch.empty_like(rank)
    ranks[order] = torch.where(in_order > 0, in_order - behind, 0)
    return ranks


def ndcg(rank: Tensor, gain: Tensor, group: Tensor, k: int) -> Tensor:
    """Discounted gains within the top ``k``, over those of the ideal order of what is judged.

    Järvelin and Kekäläinen, TOIS 2002: sum of gain / log2(rank + 1), linear in the gain. What is
    not judged has none. Not defined for a query without any gain.
    """
    ideal = torch.empty_like(rank)
    order = _order(gain, group)
    ideal[order] = torch.arange(1, len(rank) + 1, device=rank.device) - _before(group[order])
    return _discounted(rank, gain, group, k) / _discounted(ideal, gain, group, k)


def recall(rank: Tensor, positive: Tensor, group: Tensor, k: int) -> Tensor:
    """Share of the relevant items in the top ``k``. Not defined for a query without any."""
    found = positive & (rank > 0) & (rank <= k)
    return _sums(found.double(), group) / _sums(positive.double(), group)


def average_precision(rank: Tensor, positive: Tensor, group: Tensor, k: int) -> Tensor:
    """Mean over the relevant items that the top ``k`` could hold of the precision at their ranks.

    What is not found adds 0. Not defined for a query without any relevant item.

    Args:
        rank: int64 [P], no two of a query alike: see :func:`parted`.
        positive: bool [P].
        group: int64 [P], rising.
        k: the cut-off.
    """
    inside = positive & (rank > 0) & (rank <= k)
    at, of = rank[inside], group[inside]
    order = torch.argsort(of * (k + 1) + at)
    at, of = at[order], of[order]
    hits = torch.arange(1, len(of) + 1, device=of.device) - _before(of, _number(group))
    each = torch.zeros(_number(group), dtype=torch.float64, device=rank.device)
    each = each.index_add(0, of, hits.double() / at.double())
    return each / _sums(positive.double(), group).clamp(max=k).masked_fill(
        _sums(positive.double(), group) == 0, torch.nan
    )


def mrr(rank: Tensor, positive: Tensor, group: Tensor) -> Tensor:
    """1 / rank of the first relevant item, 0 if none is found. Not defined for a query without."""
    each = torch.where(positive & (rank > 0), 1 / rank.double().clamp(min=1), 0.0)
    best = torch.zeros(_number(group), dtype=torch.float64, device=rank.device)
    best = best.scatter_reduce(0, group, each, "amax")
    return torch.where(_sums(positive.double(), group) > 0, best, torch.nan)


def rmse(predicted: Tensor, relevance: Tensor) -> Tensor:
    """Root of the mean squared distance, float64 scalar."""
    return (predicted.double() - relevance.double()).square().mean().sqrt()


def line(score: Tensor, relevance: Tensor) -> tuple[float, float]:
    """Intercept and slope of the line that fits relevance best, by least squares."""
    x, y = score.double(), relevance.double()
    spread = (x - x.mean()).square().sum()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else torch.zeros(())
    return float(y.mean() - slope * x.mean()), float(slope)


def defined(values: Tensor) -> Tensor:
    """Mean over the queries for which a metric is defined, float64 scalar; NaN if for none."""
    return values[~values.isnan()].mean()


def _order(score: Tensor, group: Tensor) -> Tensor:
    """Pairs by query, the highest scores of each first."""
    order = torch.argsort(score, descending=True, stable=True)
    return order[torch.argsort(group[order], stable=True)]


def _last(*columns: Tensor) -> Tensor:
    """Place from 1 of the last one of each run of rows that are alike in all columns: int64 [P]."""
    begins = torch.ones_like(columns[0], dtype=torch.bool)
    begins[1:] = torch.stack([column[1:] != column[:-1] for column in columns]).any(dim=0)
    run = torch.cumsum(begins, 0) - 1
    return torch.cumsum(torch.bincount(run), 0)[run]


def _before(group: Tensor, groups: int = 0) -> Tensor:
    """How many pairs there are of earlier queries, int64 [P]; ``group`` is rising."""
    number = torch.bincount(group, minlength=groups)
    return (torch.cumsum(number, 0) - number)[group]


def _discounted(rank: Tensor, gain: Tensor, group: Tensor, k: int) -> Tensor:
    inside = (rank > 0) & (rank <= k)
    return _sums(torch.where(inside, gain.double() / torch.log2(rank.double() + 1), 0.0), group)


def _sums(values: Tensor, group: Tensor) -> Tensor:
    zeros = torch.zeros(_number(group), dtype=torch.float64, device=values.device)
    return zeros.index_add_(0, group, values)


def _number(group: Tensor) -> int:
    return int(group[-1]) + 1 if len(group) else 0
