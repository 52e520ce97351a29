"""Rows in the order of their scores, by one sort of whole numbers.

Group, score and label of a row become one number of 64 bits that sorts as they do: a processor
sorts such numbers many times as fast as it finds the order of floats. Shapes: n rows, r runs of
rows of one group and one score.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SCORE_BITS = 32


class Runs(NamedTuple):
    """Rows of one group and one score together, the highest score of a group first.

    group: int64 [r], rising.  rows: float64 [r], how many.  clicks: float64 [r], of these.
    """

    group: Tensor
    rows: Tensor
    clicks: Tensor


class Ordered(NamedTuple):
    """Rows by group, the highest score first; of one score those without a click first.

    group: int64 [n], rising.  label: float64 [n].  runs: of equal scores.
    """

    group: Tensor
    label: Tensor
    runs: Runs


def in_order(score: Tensor, label: Tensor, group: Tensor | None = None) -> Ordered:
    """Put rows in order.

    ``score``: float [n]; ``label``: 0 or 1, [n]; ``group``: int [n], numbers from 0 and below 2^30;
    rows of no group, -1, are left out. None: all rows are one group.
    """
    if group is not None:
        mask = group >= 0
        score, label, group = score[mask], label[mask], group[mask]
    key = (_falling(score) << 1) | (label > 0.5)
    if group is not None:
        key |= group.long() << SCORE_BITS + 1
    key = torch.from_numpy(np.sort(key.numpy()))  # several times as fast as torch's
    group, label, alike = key >> SCORE_BITS + 1, (key & 1).double(), key >> 1
    begins = torch.ones_like(key, dtype=torch.bool)
    begins[1:] = alike[1:] != alike[:-1]
    starts = begins.nonzero()[:, 0]
    hits = torch.cat([label.new_zeros(1), label.cumsum(0)])
    ends = torch.cat([starts[1:], starts.new_full((min(1, len(starts)),), len(key))])
    runs = Runs(group[starts], (ends - starts).double(), hits[ends] - hits[starts])
    return Ordered(group, label, runs)


def _falling(score: Tensor) -> Tensor:
    """Whole numbers below 2^32 that fall as scores rise, alike for scores that are alike: int64."""
    if score.dtype == torch.float64:  # has more bits: numbered instead
        distinct, number = torch.unique(score, return_inverse=True)
        return len(distinct) - 1 - number
    bits = (score.float() + 0.0).view(torch.int32).long()  # -0 becomes 0
    # Bits of floats rise with them, but of negative ones with their size.
    return torch.where(bits < 0, bits & 0xFFFFFFFF, 0x7FFFFFFF - bits)
