"""Ranking metrics as pure functions of the target's rank.

There is one target per example, so each metric depends on the rank alone. Ranks are int64 [n] and
start at 1; rank 0 says that the target was no candidate, which is a miss at every cut-off. Every
function returns one float64 value per example, float64 [n].
"""

import torch
from torch import Tensor


def rank_among(
    target_score: Tensor,
    candidate_scores: Tensor,
    known: Tensor | None = None,
    there: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank each target among candidates of its own.

    Ties, and scores that are not a number, count against the model: the rank is the worst one the
    target could have.

    Args:
        target_score: float [B].
        candidate_scores: float [B, n], without the target.
        known: bool [B], False for a target that is no candidate (its rank is 0); None: all are.
        there: bool [B, n], False where there is no candidate; None: all are.

    Returns:
        rank, candidates: int64 [B]; ``candidates`` counts the target, unless it is none.
    """
    known = torch.ones_like(target_score, dtype=torch.bool) if known is None else known
    there = torch.ones_like(candidate_scores, dtype=torch.bool) if there is None else there
    lowest = torch.finfo(target_score.dtype).min
    wanted = target_score.nan_to_num(nan=lowest, neginf=lowest).unsqueeze(1)  # [B, 1]
    others = candidate_scores.nan_to_num(nan=lowest, neginf=lowest)
    ahead = ((others >= wanted) & there).sum(dim=1)
    return torch.where(known, ahead + 1, 0), there.sum(dim=1) + known


def recall(rank: Tensor, k: int) -> Tensor:
    """Whether the target is among the top ``k`` (with one target: the hit rate)."""
    return ((rank > 0) & (rank <= k)).double()


def precision(rank: Tensor, k: int) -> Tensor:
    """Share of the top ``k`` that is the target: ``recall / k``."""
    return recall(rank, k) / k


def f1(rank: Tensor, k: int) -> Tensor:
    """Harmonic mean of precision and recall: ``2 / (k + 1)`` for a hit."""
    return recall(rank, k) * 2 / (k + 1)


def ndcg(rank: Tensor, k: int) -> Tensor:
    """Normalised discounted cumulative gain: ``1 / log2(rank + 1)`` within the top ``k``.

    Järvelin and Kekäläinen, TOIS 2002; with one target the ideal gain is 1.
    """
    return recall(rank, k) / torch.log2(rank.double() + 1).clamp(min=1)


def mrr(rank: Tensor, k: int | None = None) -> Tensor:
    """Reciprocal rank, within the top ``k`` or, with None, at any depth."""
    hit = (rank > 0).double() if k is None else recall(rank, k)
    return hit / rank.double().clamp(min=1)


def average_precision(rank: Tensor, k: int) -> Tensor:
    """Precision at the target's rank, within the top ``k``: with one target the reciprocal rank."""
    return mrr(rank, k)


def auc(rank: Tensor, candidates: Tensor) -> Tensor:
    """Chance that the target beats a random other candidate: ``(n - rank) / (n - 1)``.

    Args:
        rank: int64 [n]; a miss (rank 0) counts 0.
        candidates: int64 [n], the number ranked. A lone candidate beats all others there are.
    """
    others = candidates - 1
    share = (candidates - rank).double() / others.clamp(min=1).double()
    return torch.where(rank > 0, share.masked_fill(others == 0, 1.0), 0.0)
