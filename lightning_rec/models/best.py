"""The best k of scores, of equal ones those with the lower code: whatever k is, and whatever rules.

``torch.topk`` alone takes any of several that are equal.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MORE = 8  # columns beyond k that are looked at, as that is sooner than looking at all again


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
    values, indices = torch.topk(scores, min(k + MORE, most), dim=1)
    # Only rows with a tie are put in order again, mostly from what was found beyond k.
    ties = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > floor)
    rows = ties[:, :k].any(1).nonzero()[:, 0]
    found = Best(values[:, :k].contiguous(), indices[:, :k].contiguous())
    if len(rows) and k:
        low = values[rows, -1]
        far = (low == values[rows, k - 1]) & (low > floor) & (values.shape[1] < most)
        _put(found, scores, rows[~far], indices[rows[~far]])
        if far.any():
            rows = rows[far]
            _put(found, scores, rows, _first(scores[rows], found.values[rows], indices[rows, :k]))
    return found


def _put(found: Best, scores: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Put the best of some columns, int64 [n, M], the first ones first, in their rows."""
    k, columns = found.values.shape[1], columns.sort(dim=1).values
    again = scores[rows[:, None], columns].sort(dim=1, descending=True, stable=True)
    found.values[rows] = again.values[:, :k]
    found.indices[rows] = columns.gather(1, again.indices[:, :k])


def _first(scores: Tensor, values: Tensor, columns: Tensor) -> Tensor:
    """The columns of ``values``, both [n, k], but of the lowest ones the first that there are."""
    above = (values > values[:, -1:]).sum(1)
    row, column = (scores == values[:, -1:]).nonzero(as_tuple=True)
    number = torch.bincount(row, minlength=len(values))
    place = torch.arange(len(row), device=row.device) - (number.cumsum(0) - number - above)[row]
    kept = place < values.shape[1]
    columns = columns.clone()
    columns[row[kept], place[kept]] = column[kept]
    return columns
