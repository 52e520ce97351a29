"""The best k of scores, of equal ones those with the lower code: whatever k is, and whatever rules.

``torch.topk`` alone takes any of several that are equal.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Best(NamedTuple):
    """values: as the scores, [B, k], best first.  indices: int64 [B, k], their columns."""

    values: Tensor
    indices: Tensor


def best(scores: Tensor, k: int, codes: Tensor | None = None, floor: float = -torch.inf) -> Best:
    """The ``k`` highest of each row, at most as many as there are columns.

    Args:
        scores: [B, M], without NaN.
        k: how many.
        codes: int64 [B, M], the item of each column; None: the column is the item.
        floor: the order of scores no higher is of no interest.
    """
    if codes is not None:
        order = torch.argsort(codes, dim=1, stable=True)
        found = best(scores.gather(1, order), k, None, floor)
        return Best(found.values, order.gather(1, found.indices))
    most = scores.shape[1]
    k = min(k, most)
    values, indices = torch.topk(scores, min(k + 1, most), dim=1)
    # Only rows with a tie are put in order again: mostly there are few.
    tied = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > floor)
    rows = tied.any(1).nonzero()[:, 0]
    beyond = tied[rows, k - 1] if tied.shape[1] >= k > 0 else tied.new_zeros(len(rows))
    values, indices = values[:, :k], indices[:, :k]
    if not len(rows):
        return Best(values, indices)
    columns = indices[rows].clone()
    if beyond.any():  # the last one is as good as others that are not among the k
        some = rows[beyond]
        columns[beyond] = _first(scores[some], values[some, -1:], k)
    columns = columns.sort(1).values
    again = scores[rows[:, None], columns].sort(dim=1, descending=True, stable=True)
    values[rows], indices[rows] = again.values, columns.gather(1, again.indices)
    return Best(values, indices)


def _first(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """Columns, int64 [n, k], of all above ``least``, [n, 1], and of the first that are equal."""
    above, equal = scores > least, scores == least
    left = k - above.sum(1, keepdim=True)
    taken = above | (equal & (equal.cumsum(1, dtype=torch.int32) <= left))
    return taken.nonzero()[:, 1].view(-1, k)
