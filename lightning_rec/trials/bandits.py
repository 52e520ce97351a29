"""What another policy would have earned, from the log of one whose propensities are known.

Estimators of the mean reward of a row: inverse propensity scores (IPS; Horvitz & Thompson 1952),
the same by the sum of weights (SNIPS; Swaminathan & Joachims, NIPS 2015), a model of the reward
(DM), and both together (DR; Dudik, Langford & Li, ICML 2011). Each is a ratio of two sums over
units, whose error is that of the delta method, or of a bootstrap of units.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.errors import UserError
from lightning_rec.trials.bootstrap import interval_of_one

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean reward with its standard error and interval. ``name``: log, ips, snips, dm or dr.

    Of dm they are those of the mean of what the model says, and leave its own error out.
    """

    name: str
    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicy:
    """The reward of a policy.

    Args:
        rows, units: of the log.
        estimates: of the policy; that called ``log`` is the mean of the log itself.
        effective: how many rows of the policy's own the weighted ones are worth, (sum w)² / sum w²
            (Kish 1965).
        weight, weight_error: the mean of the weights, 1 where propensities are right and the log
            has whatever the policy does, and its standard error.
        largest: of the weights, before they are clipped.
        clipped: the share of rows whose weight was.
    """

    rows: int
    units: int
    estimates: list[Estimate]
    effective: float
    weight: float
    weight_error: float
    largest: float
    clipped: float

    @property
    def doubtful(self) -> bool:
        """Whether the weights average something else than 1, by more than chance (p < .001)."""
        return not self.clipped and abs(self.weight - 1) > 3.29 * self.weight_error


def off_policy(
    log: pl.DataFrame,
    *,
    clip: float | None = None,
    method: Literal["delta", "bootstrap"] = "delta",
    level: float = 0.95,
    seed: int = 0,
) -> OffPolicy:
    """Estimate the mean reward of a row under another policy.

    Args:
        log: a row for each action: ``reward``, ``propensity`` (of it, when it was logged) and
            ``target`` (under the policy), numbers; perhaps ``unit`` (such as the user: whose rows
            go together), ``list`` and ``rank``: actions of one list, chosen one after another, each
            with its probability given those before it. Then the weight of a row is the product up
            to it, which is right where a reward depends on nothing below it (RIPS; McInerney et
            al., KDD 2020). With ``expected`` and ``predicted``, the reward that a model expects of
            the policy, and of the action, there are DM and DR too.
        clip: the largest weight that is used; None uses all as they are.
        method: of intervals.
        level: of intervals.
        seed: of the bootstrap.

    Raises:
        UserError: where the log says nothing of the policy.
    """
    if log.is_empty():
        raise UserError("The log has no rows of this policy: there is nothing to estimate.")
    plain = _weights(log)
    if not plain.any():
        raise UserError(
            "The log has no row in which the policy would have done the same: every weight is 0, "
            "and nothing can be said of it. Are ids, ranks and columns those of the log?"
        )
    weight = plain if clip is None else np.minimum(plain, clip)
    reward, ones = log["reward"].to_numpy(), np.ones(len(log))
    ratios = {"log": (reward, ones), "ips": (weight * reward, ones)}
    ratios["snips"] = (weight * reward, weight)
    if "expected" in log.columns:
        expected, predicted = (log[name].to_numpy() for name in ("expected", "predicted"))
        ratios["dm"] = (expected, ones)
        ratios["dr"] = (expected + weight * (reward - predicted), ones)
    unit = _units(log)
    found = [
        _estimate(name, over, under, unit, method, level, seed)
        for name, (over, under) in ratios.items()
    ]
    mean = _estimate("weight", plain, ones, unit, "delta", level, seed)
    return OffPolicy(
        len(log), int(unit.max()) + 1, found, float(weight.sum() ** 2 / (weight**2).sum()),
        mean.value, mean.error, float(plain.max()), float((weight < plain).mean()),
    )  # fmt: skip


def _weights(log: pl.DataFrame) -> Floats:
    ratio = pl.col("target") / pl.col("propensity")
    if "list" not in log.columns:
        return log.select(ratio).to_series().to_numpy()
    product = ratio.cum_prod().over("list", order_by="rank")
    return log.select(product).to_series().to_numpy()


def _units(log: pl.DataFrame) -> NDArray[np.int64]:
    """A number for each row, the same for rows that go together."""
    of = next((name for name in ("unit", "list") if name in log.columns), None)
    if of is None:
        return np.arange(len(log))
    return (log[of].rank("dense").cast(pl.Int64) - 1).to_numpy()


def _estimate(
    name: str, over: Floats, under: Floats, unit: NDArray[np.int64], method: str, level: float,
    seed: int,
) -> Estimate:  # fmt: skip
    """The ratio of two sums, with the error over units."""
    from scipy import stats

    tops = np.bincount(unit, over).astype(np.float64)
    bottoms = np.bincount(unit, under).astype(np.float64)
    whole, units = bottoms.sum(), len(tops)
    value = float(tops.sum() / whole)
    if units < 2:
        raise UserError("The log has one unit: an interval needs two or more.")
    error = float((((tops - value * bottoms) ** 2).sum() * units / (units - 1)) ** 0.5 / whole)
    if method == "bootstrap":
        return Estimate(name, value, error, *interval_of_one(tops, bottoms, level, seed))
    half = float(stats.t.ppf((1 + level) / 2, units - 1)) * error
    return Estimate(name, value, error, value - half, value + half)
