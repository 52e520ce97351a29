"""What a variant did to its users: differences with intervals, and whether users were lost.

A unit is a user, as that is what was drawn: rows of one user are summed first. A ratio such as
clicks per impression is the sum over users of one over that of the other; each user then counts by
his residual (the delta method; Deng, Knoblich & Lu, KDD 2018), of which all tests are made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.trials.bootstrap import Resampled, resampled
from lightning_rec.trials.sequential import Always, always

Floats = NDArray[np.float64]
PLANNED = 10_000  # users, where nothing is said
SRM = 0.001  # p of the check of shares below which something is wrong (Fabijan et al., KDD 2019)


@dataclass(frozen=True)
class Arm:
    """The users of a variant: how many, the mean of the value (or the ratio), its deviation; with
    CUPED that of what is left of the value, and ``plain`` is the mean of the value itself.
    """

    variant: str
    users: int
    plain: float
    mean: float
    sd: float
    error: float


@dataclass(frozen=True)
class Effect:
    """A variant beside the control.

    Args:
        difference, error, low, high: of the means, with its standard error and interval; ``p`` of
            Welch's test of it.
        lift, lift_low, lift_high: the difference over the mean of the control, by the delta method;
            None where that mean is 0.
        always: the interval and p-value that hold however often one looks.
        holm: ``p`` corrected for all variants, after Holm (1979).
    """

    variant: str
    difference: float
    error: float
    low: float
    high: float
    p: float
    always: Always
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    holm: float = 1.0


@dataclass(frozen=True)
class Test:
    """A whole test. ``ratio_p``: of the chi-square test of shares. ``kept``: by CUPED, the share of
    the variance that is left; None without a covariate.
    """

    arms: list[Arm]
    effects: list[Effect]
    ratio_p: float
    kept: float | None

    @property
    def lost(self) -> bool:
        """Whether the numbers of users do not go with the shares: then no effect can be trusted."""
        return self.ratio_p < SRM


def compare_variants(
    users: pl.DataFrame,
    *,
    control: str | None = None,
    per: str | None = None,
    covariate: str | None = None,
    shares: Mapping[str, float] | None = None,
    method: Literal["delta", "bootstrap"] = "delta",
    level: float = 0.95,
    planned: float = PLANNED,
    seed: int = 0,
) -> Test:
    """The effect of each variant on the value of a user.

    Args:
        users: a row for each user: ``variant`` String, ``value`` and what else is named, numbers.
        control: the variant that others are compared with; else the first by name.
        per: a column that the value is divided by, such as impressions.
        covariate: a column from before the experiment; what it explains of the value is taken off
            (CUPED; Deng, Xu, Kohavi & Walker, WSDM 2013).
        shares: the share of users that each variant was to have; equal ones if nothing is said.
        method: of the intervals and p; ``bootstrap`` draws users with replacement, 2,000 times.
        level: of intervals.
        planned: users at which the always-valid interval is tightest.
        seed: of the bootstrap.

    Raises:
        UserError: where there are no two variants of two users each.
    """
    names = _names(users, control)
    parts = [users.filter(pl.col("variant") == name) for name in names]
    values = [_column(part, "value") for part in parts]
    under = [_column(part, per) if per else np.ones(len(part)) for part in parts]
    for name, each in zip(names, under, strict=True):
        if each.sum() <= 0:
            raise UserError(f"The column '{per}' sums to nothing in variant '{name}'.")
    ratios = [v.sum() / u.sum() for v, u in zip(values, under, strict=True)]
    units = [r + (v - r * u) / u.mean() for v, u, r in zip(values, under, ratios, strict=True)]
    before = [_column(part, covariate) if covariate else np.zeros(len(part)) for part in parts]
    slope = _slope(units, before) if covariate else 0.0
    centre = np.concatenate(before).mean()
    plain = sum(each.var() * len(each) for each in units)
    units = [u - slope * (b - centre) for u, b in zip(units, before, strict=True)]
    kept = sum(each.var() * len(each) for each in units) / plain if covariate and plain else None
    told = zip(names, ratios, units, strict=True)
    arms = [_arm(name, float(ratio), each) for name, ratio, each in told]
    effects = [_effect(arms[0], arm, level, planned) for arm in arms[1:]]
    if method == "bootstrap":
        drawn = list(zip(values, under, [each - centre for each in before], strict=True))
        effects = [
            _by_draws(effect, resampled(drawn[0], other, slope, level, seed))
            for effect, other in zip(effects, drawn[1:], strict=True)
        ]
    ratio_p = _shares_p([arm.users for arm in arms], names, shares)
    return Test(arms, _holm(effects), ratio_p, kept)


def _names(users: pl.DataFrame, control: str | None) -> list[str]:
    counts = dict(users.group_by("variant").len().sort("variant").iter_rows())
    if len(counts) < 2:
        there = f"one variant, '{next(iter(counts))}'" if counts else "no user of any variant"
        raise UserError(f"There is {there}: a test compares two or more.")
    if few := [name for name, count in counts.items() if count < 2]:
        raise UserError(f"Variant '{few[0]}' has one user: an effect needs two at least.")
    if control is not None and control not in counts:
        raise UserError(f"control={control} is no variant.{suggest(control, counts)}")
    first = control or next(iter(counts))
    return [first, *(name for name in counts if name != first)]


def _column(users: pl.DataFrame, name: str) -> Floats:
    return users[name].cast(pl.Float64).to_numpy()


def _slope(units: Sequence[Floats], before: Sequence[Floats]) -> float:
    """Of the regression on the covariate within variants, one for all of them."""
    pairs = list(zip(units, before, strict=True))
    both = sum(float(((u - u.mean()) * (b - b.mean())).sum()) for u, b in pairs)
    own = sum(float(((b - b.mean()) ** 2).sum()) for _, b in pairs)
    return both / own if own > 0 else 0.0


def _arm(name: str, plain: float, units: Floats) -> Arm:
    sd = float(units.std(ddof=1))
    return Arm(name, len(units), plain, float(units.mean()), sd, sd / len(units) ** 0.5)


def _effect(control: Arm, arm: Arm, level: float, planned: float) -> Effect:
    """By Welch's test, of the moments of both."""
    from scipy import stats

    difference = arm.mean - control.mean
    squares = (control.error**2, arm.error**2)
    error = sum(squares) ** 0.5
    ever = always(difference, error, control.users + arm.users, planned, level)
    if not error > 0:
        low = high = difference
        p = float(difference == 0)
    else:
        sizes = (control.users - 1, arm.users - 1)
        freedom = error**4 / sum(s**2 / n for s, n in zip(squares, sizes, strict=True))
        half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
        low, high = difference - half, difference + half
        p = float(2 * stats.t.sf(abs(difference) / error, freedom))
    lift = lows = highs = None
    if control.mean > 0:
        ratio = arm.mean / control.mean
        spread = ((arm.error**2 + ratio**2 * control.error**2) ** 0.5) / control.mean
        half = float(stats.norm.ppf((1 + level) / 2)) * spread
        lift, lows, highs = ratio - 1, ratio - 1 - half, ratio - 1 + half
    return Effect(arm.variant, difference, error, low, high, p, ever, lift, lows, highs)


def _by_draws(effect: Effect, drawn: Resampled) -> Effect:
    lows = (None, None) if effect.lift is None else drawn.lift
    told = replace(effect, low=drawn.low, high=drawn.high, p=drawn.p)
    return replace(told, lift_low=lows[0], lift_high=lows[1])


def _holm(effects: list[Effect]) -> list[Effect]:
    adjusted = holm(np.array([each.p for each in effects]))
    return [replace(each, holm=float(one)) for each, one in zip(effects, adjusted, strict=True)]


def holm(p: Floats) -> Floats:
    """P-values of tests made together, corrected after Holm (1979): [n] to [n]."""
    order = np.argsort(p)
    found = np.empty_like(p)
    found[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return found


def _shares_p(
    counts: Sequence[int], names: Sequence[str], shares: Mapping[str, float] | None
) -> float:
    """The sample-ratio mismatch: a chi-square test of the numbers of users."""
    from scipy import stats

    expected = np.full(len(counts), 1 / len(counts))
    if shares is not None:
        if set(shares) != set(names):
            raise UserError(
                f"shares= is of {listed(sorted(shares))}, and the log has the variants "
                f"{listed(sorted(names))}."
            )
        expected = np.array([shares[name] for name in names])
        expected = expected / expected.sum()
    return float(stats.chisquare(counts, expected * sum(counts)).pvalue)
