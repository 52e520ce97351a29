"""Figures of slices of the examples: by length of history, popularity of the target, cold or warm.

Where an example belongs is known before anything is ranked, so nothing is collected for it: slices
are cut from the ranks at the end, in the order of the examples.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lightning_rec.metrics import functional as F
from lightning_rec.metrics.lists import head_items

HISTORY_FROM = (1, 5, 10, 20, 50)  # where the slices by length of history begin
SLICED = {"recall": F.recall, "ndcg": F.ndcg}

Slices = Mapping[str, Tensor]


def slices_of(
    history: Tensor, target: Tensor, seen: Tensor, train_counts: Tensor, kept: bool = False
) -> dict[str, Tensor]:
    """The slices of all examples, by name.

    ``history_1_4``, ``history_5_9``, …, ``history_50_up``: events before the target. ``head`` and
    ``tail``: whether a warm target is among the 20 % of items with most training events. ``cold``
    and ``warm``: targets without and with training events. Where any target is in its own history,
    ``seen`` and ``unseen``; one that is no candidate for being seen is in none of the four.

    Args:
        history: int64 [n], number of events before each example's target, at least 1.
        target: int64 [n], item codes; -1 for an item that is no candidate.
        seen: bool [n], whether the target is in its history.
        train_counts: int64 [num_items].
        kept: whether seen items are candidates.

    Returns:
        bool [n] for each slice.
    """
    slices = {}
    for start, after in zip(HISTORY_FROM, (*HISTORY_FROM[1:], None), strict=True):
        inside = history >= start if after is None else (history >= start) & (history < after)
        slices[f"history_{start}_{'up' if after is None else after - 1}"] = inside
    there = target.clamp(min=0)
    warm = (target >= 0) & (train_counts[there] > 0)
    head = warm & head_items(train_counts)[there]
    cold = ~warm & ((target >= 0) | ~seen | kept)
    slices |= {"head": head, "tail": warm & ~head, "cold": cold, "warm": warm}
    return slices | ({"seen": seen, "unseen": ~seen} if seen.any() else {})


def sliced(
    example: Tensor, rank: Tensor, slices: Slices, k: int, suffix: str = ""
) -> dict[str, Tensor]:
    """Recall and ndcg at ``k`` of each slice, and how many examples it has.

    Args:
        example: int64 [n], numbers of the examples, rising.
        rank: int64 [n], their ranks.
        slices: bool [number of all examples] by name.
        k: the cut-off.
        suffix: put after the names of metrics.

    Returns:
        ``head/recall@10``, ``head/ndcg@10``, ``head/examples`` and so on: float64 scalars. A slice
        without examples has its number, 0, and no metrics.
    """
    figures = {}
    for name, members in slices.items():
        inside = rank[members.to(example.device)[example]]
        count = torch.tensor(len(inside), dtype=torch.float64, device=rank.device)
        figures[f"{name}/examples"] = count
        if len(inside):
            for kind, metric in SLICED.items():
                figures[f"{name}/{kind}@{k}{suffix}"] = metric(inside, k).mean()
    return figures
