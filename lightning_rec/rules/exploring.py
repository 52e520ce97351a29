"""Exploration: which candidate a place of the list gets by chance, and how probable that was.

Every draw is made from the key of its row, the seed and the number of the place, so that an answer
is the same however many others are asked for at once.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_STEP, _FINEST = 0.2, 25  # of integrals, in standard deviations, and into how many it is parted


class Chance:
    """Uniform numbers that follow from ``keys``, uint64 [B], and a seed (SplitMix64)."""

    def __init__(self, keys: NDArray[np.uint64], seed: int) -> None:
        start = np.array([seed % 2**64], dtype=np.uint64)
        self.keys = _mixed(keys ^ _mixed(start))

    def uniform(self, place: int, width: int, stream: int = 0) -> Tensor:
        """Numbers above 0 and below 1 for one place of each list: float64 [B, width]."""
        column = np.arange(width, dtype=np.uint64) + np.uint64((place << 40) + (stream << 36))
        bits = _mixed(self.keys[:, None] ^ _mixed(column)[None])
        return torch.from_numpy(((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


class Draw(Protocol):
    """How a place is given away."""

    def pick(self, value: Tensor, items: Tensor, chance: Chance, place: int) -> "Picked":
        """Pick a candidate for one place of each list.

        ``value``: float64 [B, M], -inf for what cannot be picked. ``items``: int64 [B, M], their
        codes.
        """
        ...


class Picked(NamedTuple):
    """Places among the candidates, int64 [B], and how probable each was, float64 [B]."""

    place: Tensor
    propensity: Tensor


class Epsilon(NamedTuple):
    """The best one with probability 1 - ``share``, else any that is left, all alike."""

    share: float

    def pick(self, value: Tensor, items: Tensor, chance: Chance, place: int) -> Picked:
        """See :class:`Draw`."""
        free = value > -torch.inf
        number = free.sum(1).clamp(min=1).double()
        either, which = chance.uniform(place, 2).unbind(1)
        best = value.argmax(1)
        rank = (which * number).long() + 1
        drawn = (free.cumsum(1) == rank[:, None]).int().argmax(1)
        chosen = torch.where(either < self.share, drawn, best)
        propensity = self.share / number + (1 - self.share) * (chosen == best).double()
        return Picked(chosen, propensity)


class Softmax(NamedTuple):
    """Any that is left, with probability in proportion to exp(value / ``temperature``).

    Lists are those of Plackett and Luce.
    """

    temperature: float

    def pick(self, value: Tensor, items: Tensor, chance: Chance, place: int) -> Picked:
        """See :class:`Draw`."""
        scaled = value / self.temperature
        noise = -torch.log(-torch.log(chance.uniform(place, value.shape[1])))
        chosen = (scaled + noise).argmax(1)
        share = torch.softmax(scaled.where(value > -torch.inf, -torch.inf), 1)
        return Picked(chosen, share.gather(1, chosen[:, None])[:, 0].nan_to_num())


class Thompson(NamedTuple):
    """The best by a draw from what is known of each: a normal distribution around its value.

    ``width``: the standard deviation of an item without events, in those of the candidates'
    values; where these are equal, any will do. ``events``: int64 [V], of each item in the log; n of
    them divide the variance by 1 + n / m, where m is the median. Every place has draws of its own
    (Chapelle & Li 2011, "An Empirical Evaluation of Thompson Sampling", with a normal posterior).
    """

    width: float
    events: Tensor

    def pick(self, value: Tensor, items: Tensor, chance: Chance, place: int) -> Picked:
        """See :class:`Draw`."""
        deviation = self.deviations(value, items)
        normal = torch.special.ndtri(chance.uniform(place, value.shape[1]))
        chosen = (value + deviation * normal).argmax(1)
        return Picked(chosen, self._probability(value, deviation, chosen))

    def deviations(self, value: Tensor, items: Tensor) -> Tensor:
        """Standard deviations of the candidates' values, float64 [B, M]."""
        free = value > -torch.inf
        number = free.sum(1, keepdim=True).clamp(min=1)
        known = value.where(free, 0)
        mean = known.sum(1, keepdim=True) / number
        spread = (((known - mean).where(free, 0) ** 2).sum(1, keepdim=True) / number).sqrt()
        high, low = (
            each(1, keepdim=True) for each in (value.amax, value.where(free, torch.inf).amin)
        )
        # Among equal values any deviation draws alike, and rounding errors are none.
        spread = spread.where(high > low, high.nan_to_num(neginf=0).abs().clamp(min=1))
        events = self.events.double()
        median = events.median().clamp(min=1)
        return self.width * spread / (1 + events[items.clamp(min=0)] / median).sqrt()

    def _probability(self, value: Tensor, deviation: Tensor, chosen: Tensor) -> Tensor:
        """How probable it is that the chosen one has the highest draw, by an integral.

        Its steps are as fine as the least deviation among the others asks for: what is met often
        is known so well that its draws hardly differ.
        """
        at = chosen[:, None]
        free = (value > -torch.inf).scatter(1, at, value=False)
        other, wide = value.where(free, -torch.inf), deviation.clamp(min=1e-12)
        own_value, own_wide = value.gather(1, at), wide.gather(1, at)
        least = (wide / own_wide).where(free, torch.inf).amin(1).clamp(max=1)
        finer = (1 / least).ceil().clamp(max=_FINEST).long()
        made = torch.ones(len(value), dtype=torch.float64)
        for parts in finer.unique().tolist():
            rows = finer == parts
            nodes = torch.linspace(-6, 6, round(12 / _STEP) * parts + 1, dtype=torch.float64)
            weights = torch.softmax(-(nodes**2) / 2, 0)
            own = own_value[rows] + own_wide[rows] * nodes  # [B, nodes]
            below_all = torch.ones_like(own)
            for mean, spread in zip(other[rows].T, wide[rows].T, strict=True):
                below_all *= torch.special.ndtr((own - mean[:, None]) / spread[:, None])
            made[rows] = (below_all * weights).sum(1)
        return made


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        bits = bits + np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return bits ^ (bits >> np.uint64(31))
