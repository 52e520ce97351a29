"""Ranking metrics as pure functions of the target's rank.

There is one target per example, so each metric depends on the rank alone. Ranks are int64 [n] and
start at 1; rank 0 says that the target was no candidate, which is a miss at every cut-off. Every
function returns one float64 value per example, float64 [n].
"""

import torch
from torch import Tensor


def rank_target(
    scores: Tensor, target: Tensor, seen_row: Tensor, seen_item: Tensor
) -> tuple[Tensor, Tensor]:
    """Rank each target among all items but those its user has seen.

    Ties, and scores that are not a number, count against the model: the rank is the worst one the
    target could have. The target itself is a candidate even if it was seen before.

    Args:
        scores: float [B, num_items], changed in place: seen items become -inf.
        target: int64 [B], -1 for a target that is no candidate (its rank is 0).
        seen_row: int64 [S], with ``seen_item`` the pairs to leave out: row of ``scores``,
        seen_item: int64 [S], and item.

    Returns:
        rank, candidates: int64 [B]; ``candidates`` counts the target, unless it is none.
    """
    rows = torch.arange(len(target), device=target.device)
    known = target >= 0
    place = target.clamp(min=0)
    lowest = torch.finfo(scores.dtype).min
    scores.nan_to_num_(nan=lowest, neginf=lowest)  # from here on, -inf means seen
    wanted = scores[rows, place].unsqueeze(1)  # [B, 1]
    scores[seen_row, seen_item] = -torch.inf
    # A target that was seen before comes back; an unknown one has no score to restore.
    scores[rows[known], place[known]] = wanted[known, 0]
    excluded = torch.isneginf(scores).sum(dim=1)
    candidates = scores.shape[1] - excluded
    behind = (scores < wanted).sum(dim=1) - excluded
    return torch.where(known, candidates - behind, 0), candidates


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


def auc(rank: Tensor, candidates: Tensor) -> Tensor:
    """Chance that the target beats a random other candidate: ``(n - rank) / (n - 1)``.

    Args:
        rank: int64 [n]; a miss (rank 0) counts 0.
        candidates: int64 [n], the number ranked. A lone candidate beats all others there are.
    """
    others = candidates - 1
    share = (candidates - rank).double() / others.clamp(min=1).double()
    return torch.where(rank > 0, share.masked_fill(others == 0, 1.0), 0.0)
