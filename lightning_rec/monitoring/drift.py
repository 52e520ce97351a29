"""How far a distribution has moved: PSI with its interval, and whether chance explains it.

PSI, the population stability index, is the sum over bins of (p - r) ln(p / r); below .1 nothing
moved, from .25 on much did (Siddiqi, Credit Risk Scorecards, 2006). Of few rows it is above 0
without any drift (Yurdakul, 2018): what resampling adds to it is taken off.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import stats

from lightning_rec.monitoring.bins import Distribution, Floats, codes, unit_shares

SOME, MUCH = 0.1, 0.25  # of PSI
LEAST = 30  # units without which nothing is judged
PSI_BINS = 10
DRAWS = 2 * 10**7  # of units, in all resamples
EXPECTED = 5.0  # of units in a bin of the chi-square test; rarer ones are put together


class Drift(NamedTuple):
    """psi: less its bias, with an interval.  ks: the largest gap of the shares up to a number.

    p: that chance explains it: by Kolmogorov and Smirnov of numbers, chi-square of categories.
    most: the bin that moved most, ``before`` and ``now`` its shares.
    """

    psi: float
    low: float
    high: float
    ks: float | None
    p: float
    units: int
    most: str
    before: float
    now: float


def drift(observed: pl.DataFrame, known: Distribution, level: float, seed: int = 0) -> Drift:
    """That of ``unit`` and ``value``, in the order of time, from ``known``."""
    joined = _joined(known)
    by_unit = unit_shares(observed, known)
    units, fine = len(by_unit), by_unit.mean(0)
    by_unit, before = (_summed(each, joined) for each in (by_unit, known.shares[None]))
    now, before = by_unit.mean(0), before[0]
    ks, p = None, chi_square(now * units, before * known.units)
    if known.kind == "numbers":
        ks = float(np.abs(np.cumsum(fine - known.shares)).max())
        p = _kolmogorov(observed, known)
    value = float(psi(now, before, units, known.units))
    drawn = _resampled(by_unit, before, known.units, seed)
    low, high = (2 * value - np.quantile(drawn, [(1 + level) / 2, (1 - level) / 2])).clip(0)
    place = int(np.argmax(np.abs(now - before)))
    names = [name for name, group in zip(known.bins, joined, strict=True) if group == place]
    most = names[0] if len(names) == 1 else f"{names[0].split(' to ')[0]} to {_end(names[-1])}"
    value = max(0.0, 2 * value - float(drawn.mean()))
    return Drift(
        value, float(low), float(high), ks, p, units, most, float(before[place]), float(now[place])
    )


def _end(name: str) -> str:
    return name.split(" to ")[-1]


def psi(now: Floats, before: Floats, units: float, known: float) -> Floats:
    """Of shares of two times, [..., B] to [...]; half a unit is added to each bin, so that none is
    empty.
    """
    one, other = (
        (share * number + 0.5) / (number + 0.5 * share.shape[-1])
        for share, number in ((now, units), (before, known))
    )
    found: Floats = ((one - other) * np.log(one / other)).sum(-1)
    return found


def chi_square(now: Floats, before: Floats) -> float:
    """That the counts of two times are of one distribution; rare bins are put together."""
    both = now + before
    least = min(now.sum(), before.sum())
    if not least:
        return 1.0
    rare = both * least / both.sum() < EXPECTED
    table = np.stack([now, before])
    table = np.concatenate([table[:, ~rare], table[:, rare].sum(1, keepdims=True)], axis=1)
    table = table[:, table.sum(0) > 0]
    if table.shape[1] < 2:
        return 1.0
    return float(stats.chi2_contingency(table, correction=False).pvalue)


def _kolmogorov(observed: pl.DataFrame, known: Distribution) -> float:
    """Of the latest value of each unit, in bins: ties make it say less than there is."""
    latest = observed.group_by("unit", maintain_order=True).last()
    expected = np.repeat(
        np.arange(len(known.bins)), np.rint(known.shares * known.units).astype(int)
    )
    found = codes(latest["value"], known)
    if not len(found) or not len(expected):
        return 1.0
    return float(stats.ks_2samp(found, expected, method="asymp").pvalue)


def _joined(known: Distribution) -> np.ndarray:
    """The bin of PSI of each bin: ten of about equal size for numbers, the same for categories."""
    if known.kind == "categories":
        return np.arange(len(known.bins))
    before = np.concatenate([[0.0], np.cumsum(known.shares[:-1])[:-1]])
    tenth = np.minimum((before * PSI_BINS + 1e-9).astype(np.int64), PSI_BINS - 1)
    whole = np.concatenate([tenth, [PSI_BINS]])
    return np.unique(whole, return_inverse=True)[1]


def _summed(shares: Floats, joined: np.ndarray) -> Floats:
    found = np.zeros((len(shares), int(joined.max()) + 1))
    np.add.at(found.T, joined, shares.T)
    return found


def _resampled(by_unit: Floats, before: Floats, known: int, seed: int) -> Floats:
    """PSI where units of both times are drawn with replacement, float64 [draws]."""
    chance, units = np.random.default_rng(seed), len(by_unit)
    draws = min(400, max(100, DRAWS // max(1, units)))
    then = chance.multinomial(max(1, known), before / before.sum(), size=draws) / max(1, known)
    sums = np.zeros((draws, by_unit.shape[1]))
    step = max(1, 2**22 // draws)
    for start in range(0, units, step):
        part = by_unit[start : start + step]
        sums += chance.poisson(1.0, size=(draws, len(part))) @ part
    now = sums / np.maximum(1.0, sums.sum(1, keepdims=True))
    return psi(now, then, units, known)
