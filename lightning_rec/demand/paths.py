"""Forecasts as paths: draws of what may come in all periods ahead, of all items together."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.types import Floats, Ints
from lightning_rec.demand.series import Demand
from lightning_rec.errors import UserError

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
DRAWS = 400  # of paths
BLOCK = 1 << 22  # draws that are moved at once


@dataclass(frozen=True, eq=False)
class Forecast:
    """What may come of N series in H periods.

    Args:
        mean: float64 [N, H], what is expected, with which the paths agree but for sampling.
        paths: float32 [S, N, H]; draw ``s`` is of all series and periods at once, so that sums over
            either are draws of that sum: quantiles do not add up, draws do.
        whole: whether what is counted are whole numbers.
    """

    mean: Floats
    paths: NDArray[np.float32]
    whole: bool = True

    def summed(self, group: Ints, number: int) -> "Forecast":
        """That of the ``number`` groups: coherent, as each is the sum of what is in it.

        ``group`` int64 [N].
        """
        mean = np.zeros((number, self.mean.shape[1]))
        np.add.at(mean, group, self.mean)
        paths = np.zeros((len(self.paths), number, self.mean.shape[1]), dtype=np.float32)
        np.add.at(paths.swapaxes(0, 1), group, self.paths.swapaxes(0, 1))
        return Forecast(mean, paths, self.whole)

    def quantiles(self) -> Floats:
        """Those of ``QUANTILES``: float64 [Q, N, H]."""
        found = np.quantile(self.paths, QUANTILES, axis=0, method="inverted_cdf")
        return found.astype(np.float64)

    def over(self, lead: int) -> Floats:
        """Draws of the sum over the first ``lead`` periods: float64 [S, N]."""
        return self.paths[:, :, :lead].sum(2, dtype=np.float64)


class Forecaster(Protocol):
    """What forecasts all items of a log from what it is given of them."""

    name: str

    def __call__(self, demand: Demand, steps: int) -> Forecast:
        """The next ``steps`` periods after those of ``demand``."""
        ...


def past_errors(counts: Floats, fitted: Floats, steps: int, season: int = 1) -> Floats:
    """What was asked for less what was forecast, of each moment for all periods ahead.

    ``fitted`` [N, T] is the forecast of each period by what was known a ``season`` of periods
    before, of which those of later seasons are copies. Returns float64 [N, T - H, H], NaN where
    there was no forecast: ``[i, t, h]`` is of period ``t + 1 + h`` from what was known up to ``t``.
    """
    moments = counts.shape[1] - steps
    ahead = [
        counts[:, 1 + h : 1 + h + moments] - fitted[:, (at := 1 + h % season) : at + moments]
        for h in range(steps)
    ]
    return np.stack(ahead, axis=2)


def around(paths: NDArray[np.float64], mean: Floats) -> None:
    """Lower, or raise, the draws of each item and period alike, in place, until their mean is
    ``mean`` [N, H] where none of them may be below 0.

    Cut off at 0 as they are, they would have a larger mean than what was forecast. By how much they
    move is what projects them onto a simplex (Duchi et al. 2008, figure 1).
    """
    draws = len(paths)
    each = np.arange(1, draws + 1)[:, None, None]
    step = max(1, BLOCK // (draws * paths.shape[2]))
    for start in range(0, paths.shape[1], step):
        some = paths[:, start : start + step]
        highest = -np.sort(-some, axis=0)
        total = draws * mean[start : start + step]
        less = (np.cumsum(highest, axis=0) - total) / each  # if so many stay above 0
        above = np.maximum((highest > less).sum(0), 1)
        some -= np.take_along_axis(less, above[None] - 1, axis=0)
        np.maximum(some, 0, out=some)


def drawn_moments(first: Ints, errors: Floats, generator: np.random.Generator) -> Ints:
    """Moments whose errors are taken: int64 [S, N], the same for all items that have them.

    For an item that had no forecast then, another of its own, drawn likewise.
    """
    valid = ~np.isnan(errors).any(2)  # [N, T - H]
    known = valid.sum(1)
    if not known.all():
        steps = errors.shape[2]
        raise UserError(
            f"An item has fewer periods since its first sale than horizon={steps} needs, which are "
            f"{steps + 2}: raise history= to that, or ask for a shorter horizon=."
        )
    begin = valid.argmax(1)
    moments = valid.shape[1]
    common = generator.integers(int(begin.min()), moments, DRAWS)[:, None]
    own = begin + (generator.random((DRAWS, len(first))) * known).astype(np.int64)
    return np.where(common >= begin, common, own)


def joined(
    paths: NDArray[np.float32], first: Ints, errors: Floats, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Draws that were made item by item, in the order of past errors of all items together.

    Of each item and period the draws stay the same; which of them belong to one path is told by the
    ranks of ``errors`` at the moments of :func:`drawn_moments` (the Schaake shuffle, Clark et al.
    2004). Without it what moves all at once would be lost in sums over items.
    """
    at = drawn_moments(first, errors, generator)
    template = errors[np.arange(len(first)), at]  # [S, N, H]
    tied = generator.random(template.shape)  # equal ones in any order
    order = np.lexsort((tied, template), axis=0)
    found = np.empty_like(paths)
    np.put_along_axis(found, order, np.sort(paths, axis=0), axis=0)
    return found
