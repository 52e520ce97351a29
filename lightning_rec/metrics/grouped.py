"""Ranking within groups of judged rows: what each user was shown, in the order of the scores.

Pure functions of all rows: exact, without a Python loop, in float64. Several rows of a group may be
clicks, unlike in :mod:`lightning_rec.metrics.functional`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_rec.metrics.order import Ordered

CUTOFFS = (5, 10)


def names(cutoffs: Sequence[int] = CUTOFFS) -> list[str]:
    """Names of the figures."""
    return [*(f"{kind}@{k}" for kind in ("ndcg", "recall", "map") for k in cutoffs), "mrr"]


def ranking(order: Ordered, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, Tensor]:
    """NDCG, recall, MAP and reciprocal rank of the first click, within groups, mean over groups.

    Groups of one class say nothing of an order and are left out, as are rows of no group. Rows of
    one score count against the model: those without a click stand first. Gains are 0 and 1
    (Järvelin and Kekäläinen, TOIS 2002). The average precision of a group is the mean, over the
    clicks that the top ``k`` could hold, of the precision at the place of each that it does.

    Args:
        order: of the rows, by group.
        cutoffs: the k of ``ndcg@k``, ``recall@k`` and ``map@k``.

    Returns:
        float64 scalars by name; nothing where no group has both classes.
    """
    label, group = order.label, order.group
    rows = torch.bincount(group)
    clicks = torch.bincount(group, weights=label)
    both = (clicks > 0) & (clicks < rows)
    if not both.any():
        return {}
    place = torch.arange(len(group), device=group.device) - (rows.cumsum(0) - rows)[group]
    gain = label / torch.log2(place.double() + 2)

    def of_groups(values: Tensor) -> Tensor:
        """Sums over the rows of each group that has both classes."""
        return torch.bincount(group, weights=values, minlength=len(rows))[both]

    places = torch.arange(max(cutoffs), dtype=torch.float64, device=group.device)
    ideal = torch.cat([places.new_zeros(1), (1 / torch.log2(places + 2)).cumsum(0)])
    found, figures = clicks[both], {}
    for k in cutoffs:
        inside = place < k
        best = ideal[found.long().clamp(max=k)]
        figures[f"ndcg@{k}"] = (of_groups(gain * inside) / best).mean()
    for k in cutoffs:
        figures[f"recall@{k}"] = (of_groups(label * (place < k)) / found).mean()
    hits = label.cumsum(0) - (clicks.cumsum(0) - clicks)[group]
    precision = label * hits / (place + 1)
    for k in cutoffs:
        figures[f"map@{k}"] = (of_groups(precision * (place < k)) / found.clamp(max=k)).mean()
    far = torch.full_like(place, len(place))
    first = torch.full_like(rows, len(place)).scatter_reduce(
        0, group, torch.where(label > 0, place, far), "amin"
    )
    return figures | {"mrr": (1 / (first[both].double() + 1)).mean()}
