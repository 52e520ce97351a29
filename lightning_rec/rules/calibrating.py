"""Calibration: lists whose shares of categories are those of a user's history (Steck 2018)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.types import Ints
from lightning_rec.rules.choosing import Pool

SMOOTHED = 0.01  # the share of the history in a list's shares, so that no logarithm is of zero


def shares_of(group: Tensor) -> Tensor:
    """How much of an item is of each of its groups: 1 / as many as it has, float64 [V, G].

    group: int64 [V, G], see :class:`~lightning_rec.rules.choosing.Cap`.
    """
    there = (group >= 0).double()
    return there / there.sum(1, keepdim=True).clamp(min=1)


def tastes(
    group: Tensor, items: NDArray[np.signedinteger[Any]], offsets: Ints, rows: Ints
) -> Tensor:
    """The shares of each group in some histories: float64 [B, groups], which add up to 1.

    p(g|u) of Steck 2018, "Calibrated Recommendations", section 3, all events alike. Items without
    a group do not count: who has no others has shares of 0.

    Args:
        group: int64 [V, G], those of an item, -1 for none.
        items: int [S] item codes.
        offsets: int64 [n + 1]; history i is ``items[offsets[i]:offsets[i + 1]]``.
        rows: int64 [B], of which histories.
    """
    lengths = offsets[rows + 1] - offsets[rows]
    of = np.repeat(np.arange(len(rows)), lengths)
    first = np.repeat(offsets[rows] - np.cumsum(lengths) + lengths, lengths)
    own = group[torch.from_numpy(items[first + np.arange(len(of))].astype(np.int64))]
    number = int(group.max()) + 1
    summed = torch.zeros(len(rows) * (number + 1), dtype=torch.float64)
    flat = torch.from_numpy(of)[:, None] * (number + 1) + own + 1
    summed.scatter_add_(0, flat.flatten(), shares_of(own).flatten())
    found = summed.view(len(rows), number + 1)[:, 1:]
    return found / found.sum(1, keepdim=True).clamp(min=1e-12)


def miscalibration(group: Tensor, items: Tensor, taste: Tensor) -> Tensor:
    """Kullback-Leibler divergence of lists' shares from the histories', in nats: float64 [B].

    Steck 2018, section 3, C_KL with alpha = 0.01. items: int64 [B, k], -1 for none; taste: see
    :func:`tastes`.
    """
    own = group[items.clamp(min=0)]  # [B, k, G]
    share = shares_of(own.flatten(0, 1)).view(own.shape) * (items >= 0)[:, :, None]
    listed = torch.zeros(len(items), taste.shape[1] + 1, dtype=torch.float64)
    listed.scatter_add_(1, (own + 1).flatten(1), share.flatten(1))
    number = (items >= 0).sum(1, keepdim=True).clamp(min=1)
    smoothed = (1 - SMOOTHED) * listed[:, 1:] / number + SMOOTHED * taste
    return torch.special.xlogy(taste, taste / smoothed.clamp(min=1e-300)).sum(1)


class Calibrated:
    """(1 - d) relevance - d times the divergence of the list from the history, were it next.

    The greedy list of Steck 2018, section 4, whose marginal gain this is but for a constant; a
    :class:`~lightning_rec.rules.choosing.Value`. ``taste``: see :func:`tastes`.
    """

    def __init__(self, pool: Pool, group: Tensor, taste: Tensor, strength: float) -> None:
        self.relevance, self.strength = pool.relevance, strength
        self.group = group[pool.items.clamp(min=0)]  # [B, M, G]
        self.share = shares_of(self.group.flatten(0, 1)).view(self.group.shape)
        self.taste = torch.nn.functional.pad(taste, (1, 0))  # the first: of no group
        self.listed, self.number = torch.zeros_like(self.taste), 0

    def now(self) -> Tensor:
        """See :class:`~lightning_rec.rules.choosing.Value`."""
        scale, flat = (1 - SMOOTHED) / (self.number + 1), (self.group + 1).flatten(1)
        smoothed = scale * self.listed + SMOOTHED * self.taste
        without = torch.special.xlogy(self.taste, smoothed)  # [B, groups + 1]
        taste, before = (each.gather(1, flat) for each in (self.taste, smoothed))
        own = before + scale * self.share.flatten(1)
        gained = torch.special.xlogy(taste, own) - without.gather(1, flat)
        gained = gained.view(self.group.shape).sum(-1)  # of the groups of each candidate
        divergence = torch.special.xlogy(self.taste, self.taste).sum(1) - without.sum(1)
        return (1 - self.strength) * self.relevance - self.strength * (divergence[:, None] - gained)

    def chose(self, place: Tensor) -> None:
        """See :class:`~lightning_rec.rules.choosing.Value`."""
        row = torch.arange(len(place))
        self.listed.scatter_add_(1, self.group[row, place] + 1, self.share[row, place])
        self.listed[:, 0] = 0
        self.number += 1
