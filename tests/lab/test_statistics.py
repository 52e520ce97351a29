"""Intervals against Student's density, integrated by hand; nothing of scipy."""

import math
from itertools import pairwise

import pytest

from lightning_rec.lab import Difference, Spread, spread, welch

OURS = [0.1013, 0.0991, 0.1072, 0.0958, 0.1031]
THEIRS = [0.0797, 0.0812, 0.0755]


def tail(t: float, freedom: float) -> float:
    """P(T > t) of Student's distribution, by Simpson's rule over the angle atan(T / √freedom)."""
    constant = math.gamma((freedom + 1) / 2) / (math.sqrt(math.pi) * math.gamma(freedom / 2))
    number = 2000
    first = math.atan(t / math.sqrt(freedom))
    step = (math.pi / 2 - first) / number
    heights = [math.cos(first + step * place) ** (freedom - 1) for place in range(number + 1)]
    sides = sum(one + other for one, other in pairwise(heights[::2]))
    area: float = constant * step / 3 * (sides + 4 * sum(heights[1::2]))
    return area


def moments(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)


def test_welch_is_its_formula() -> None:
    (mean, variance), (other, others) = moments(OURS), moments(THEIRS)
    error = math.sqrt(variance + others)
    freedom = (variance + others) ** 2 / (variance**2 / 4 + others**2 / 2)
    found = welch(OURS, THEIRS)
    assert found.mean == pytest.approx(mean - other)
    assert found.low is not None
    assert found.high is not None
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert tail((found.high - found.mean) / error, freedom) == pytest.approx(0.025, rel=1e-6)
    assert found.p == pytest.approx(2 * tail(found.mean / error, freedom), rel=1e-6)
    wider = welch(OURS, THEIRS, level=0.99)
    assert wider.high is not None
    assert tail((wider.high - found.mean) / error, freedom) == pytest.approx(0.005, rel=1e-6)
    back = welch(THEIRS, OURS)
    assert back.low == pytest.approx(-found.high)
    assert back.high == pytest.approx(-found.low)


def test_what_has_no_spread_has_no_interval() -> None:
    assert welch([0.5], [0.25, 0.5]) == Difference(0.125, None, None, None)
    assert welch([0.5, 0.5], [0.25, 0.25]) == Difference(0.25, None, None, None)
    assert str(welch([0.5, 0.5], [0.25, 0.25])) == "+0.2500"
    one_sided = welch([0.5, 0.5, 0.5], [0.25, 0.35])
    assert one_sided.low is not None
    assert one_sided.low < 0.2 < one_sided.mean + 0.1
    assert spread([0.5]) == Spread(0.5, None, 1)
    assert spread([0.5]).interval() is None
    assert str(spread([0.5])) == "0.5000"


def test_mean_deviation_and_interval_of_the_mean() -> None:
    found = spread(OURS)
    mean, variance = moments(OURS)
    assert found.mean == pytest.approx(mean)
    assert found.sd == pytest.approx(math.sqrt(5 * variance))
    assert str(found) == "0.1013 ± 0.0043"
    interval = found.interval(0.9)
    assert interval is not None
    assert sum(interval) == pytest.approx(2 * mean)
    assert tail((interval[1] - mean) / math.sqrt(variance), 4) == pytest.approx(0.05, rel=1e-6)
