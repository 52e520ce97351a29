"""Looking at a test while it runs, without more false alarms than a single look has.

Always-valid intervals hold at all looks together, however often and whenever one looks. They are
the mixture sequential probability ratio test of a normal mean (Robbins 1970; Johari, Koomen,
Pekelis & Walsh 2022, "Always Valid Inference", Operations Research 70), with the error estimated:
asymptotic confidence sequences (Howard, Ramdas, McAuliffe & Sekhon 2021, Annals of Statistics 49;
Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of Statistics 52). Group sequential
bounds are for a number of looks that is fixed before (Pocock 1977; O'Brien & Fleming 1979).
"""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Bounds = Literal["obrien_fleming", "pocock"]
_NODES = 201  # of an integral, over as many standard deviations as matter
_REACH = 8.0


class Always(NamedTuple):
    """An interval and a p-value that hold at every look."""

    low: float
    high: float
    p: float


@lru_cache
def mixing(alpha: float) -> float:
    """The variance of the mixture, in squared errors of the planned end, that is tightest there."""
    from scipy import optimize

    found = optimize.minimize_scalar(
        lambda log: _factor(math.exp(log), alpha), bounds=(-6, 9), method="bounded"
    )
    return math.exp(found.x)


def _factor(ratio: float, alpha: float) -> float:
    """Half the width of the interval, in standard errors."""
    return math.sqrt(2 * (ratio + 1) / ratio * (0.5 * math.log1p(ratio) - math.log(alpha)))


def always(
    difference: float, error: float, units: float, planned: float, level: float = 0.95
) -> Always:
    """The always-valid interval of a difference, and its p-value.

    Args:
        difference: the estimate now.
        error: its standard error.
        units: users so far.
        planned: users for which the interval is to be tightest; chosen before the first look, for
            what was seen may not decide it.
        level: that holds at all looks together.
    """
    ratio = mixing(round(1 - level, 12)) * units / planned
    half = error * _factor(ratio, 1 - level)
    if not error > 0:
        return Always(difference, difference, float(difference == 0))
    z = difference / error
    log = 0.5 * z * z * ratio / (1 + ratio) - 0.5 * math.log1p(ratio)
    return Always(difference - half, difference + half, math.exp(min(0.0, -log)))


def bounds(looks: int, kind: Bounds, level: float = 0.95) -> NDArray[np.float64]:
    """How large ``|difference / error|`` has to be at each of ``looks`` looks: float64 [looks].

    Looks are after equal numbers of users. Pocock's bounds are alike, those of O'Brien and Fleming
    fall as 1 / sqrt(look).
    """
    from scipy import optimize

    falls = 0.5 if kind == "obrien_fleming" else 0.0
    shape = (looks / np.arange(1, looks + 1)) ** falls
    crossed = lambda c: _crossing(c * shape) - (1 - level)  # noqa: E731
    constant = optimize.brentq(crossed, 0.5, 12, xtol=1e-7)
    found: NDArray[np.float64] = constant * shape
    return found


def _crossing(limits: NDArray[np.float64]) -> float:
    """The chance that a test without an effect passes a limit at any look.

    By the density of the sum of what was seen so far, among tests that go on (Armitage, McPherson
    & Rowe 1969).
    """
    from scipy import stats

    going = 1.0
    nodes = weights = density = np.empty(0)
    for look, limit in enumerate(limits, 1):
        reach = min(limit, _REACH) * math.sqrt(look)
        following = np.linspace(-reach, reach, _NODES)
        if look == 1:
            density = stats.norm.pdf(following)
        else:
            steps = stats.norm.pdf(following[:, None] - nodes[None])
            density = steps @ (weights * density)
        nodes = following
        weights = _simpson(following)
        going = float(weights @ density)
    return 1 - going


def _simpson(nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of an integral by Simpson's rule over an odd number of nodes."""
    weights = np.ones(len(nodes))
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    found: NDArray[np.float64] = weights * (nodes[1] - nodes[0]) / 3
    return found
