"""Intervals by drawing users with replacement (Efron & Tibshirani 1993)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Drawn = tuple[Floats, Floats, Floats]
"""Of each user: the value, what it is divided by, and the covariate less its mean over all."""

RESAMPLES = 2000  # of them at least a tenth, where there are very many users
DRAWS = 10**9  # of users, in all resamples
BLOCK_BYTES = 64 * 2**20  # of resamples that are made at once


class Resampled(NamedTuple):
    """What draws say of a difference: its percentile interval, ``p`` (twice the share of the draws
    on the rarer side of 0), and the interval of the lift.
    """

    low: float
    high: float
    p: float
    lift: tuple[float, float]


def resampled(ours: Drawn, theirs: Drawn, slope: float, level: float, seed: int) -> Resampled:
    """Of the difference of two ratios of sums, ``theirs`` minus ``ours``.

    ``slope``: times the covariate is taken off each, as it was found on the sample.
    """
    generator = np.random.default_rng(seed)
    number = _resamples(len(ours[0]) + len(theirs[0]))
    one, other = (_means(each, slope, number, generator) for each in (ours, theirs))
    difference = other - one
    rarer = min(np.sum(difference <= 0), np.sum(difference >= 0))
    p = min(1.0, 2 * float(1 + rarer) / (1 + number))
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = _percentiles(other / one - 1, level)
    return Resampled(*_percentiles(difference, level), p, lift)


def interval_of_one(over: Floats, under: Floats, level: float, seed: int) -> tuple[float, float]:
    """The percentile interval of a ratio of sums over units."""
    generator = np.random.default_rng(seed)
    return _percentiles(_means((over, under, under), 0.0, _resamples(len(over)), generator), level)


def _resamples(users: int) -> int:
    return min(RESAMPLES, max(RESAMPLES // 10, DRAWS // users))


def _percentiles(found: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _means(of: Drawn, slope: float, resamples: int, generator: np.random.Generator) -> Floats:
    value, under, before = of
    users = len(value)
    step = max(1, BLOCK_BYTES // (8 * users))
    found = []
    for start in range(0, resamples, step):
        drawn = generator.integers(users, size=(min(step, resamples - start), users))
        means = value[drawn].sum(1) / under[drawn].sum(1)
        found.append(means - slope * before[drawn].mean(1) if slope else means)
    return np.concatenate(found)
