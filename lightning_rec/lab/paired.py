"""Paired tests of two settings on the same users (queries, rows) of the test.

Each example of the test is measured under both settings, which says more than two means: much of
the spread between users is common to both. Values are means over the seeds of a setting.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.errors import UserError
from lightning_rec.lab.examples import Values, even, of_runs
from lightning_rec.lab.statistics import p_value, places, signed
from lightning_rec.trials.effects import holm

log = logging.getLogger(__name__)

RESAMPLES = 10_000  # of them at least a tenth, where there are very many units
DRAWS = 2 * 10**9  # of units, in all resamples
BLOCK_BYTES = 64 * 2**20  # of resamples that are made at once
POWER = 0.8


@dataclass(frozen=True)
class Paired:
    """A difference between two settings over the same units of the test.

    Args:
        units: how many users, queries or rows.
        difference: of the means over examples.
        low, high: its percentile bootstrap interval over units (Efron and Tibshirani, 1993); of an
            AUC that of DeLong et al.
        randomisation: p of the paired randomisation test, signs of units' differences drawn
            (Smucker et al., CIKM 2007); None for an AUC.
        wilcoxon: p of Wilcoxon's signed-rank test of units' differences; None for an AUC.
        delong: p of DeLong's test (DeLong et al., Biometrics 1988); None but for an AUC.
        effect: mean over standard deviation of the units' differences (Cohen's d of pairs).
        detectable: the smallest difference that a test at 1 - ``level`` would find with 80 % power.
        p: the p-value of the randomisation test or of DeLong's.
        holm, bh: ``p`` corrected for all comparisons made together, after Holm (1979), which bounds
            the chance of any false one, and Benjamini and Hochberg (1995), their expected share.
    """

    units: int
    difference: float
    low: float
    high: float
    p: float
    randomisation: float | None
    wilcoxon: float | None
    delong: float | None
    effect: float | None
    detectable: float
    holm: float | None = None
    bh: float | None = None


def paired(
    ours: Sequence[Path], theirs: Sequence[Path], figure: str, level: float = 0.95, seed: int = 0
) -> Paired | None:
    """Compare the runs of two settings on the examples of their test; ``ours`` minus ``theirs``.

    Returns None where the runs keep no values of examples for ``figure``. Raises UserError if they
    were not measured on the same examples.
    """
    kept = [of_runs(runs, figure) for runs in (ours, theirs)]
    if kept[0] is None or kept[1] is None:
        return None
    check_same([*ours, *theirs], [*kept[0], *kept[1]])
    return of_values(kept[0], kept[1], level, seed)


def check_same(runs: Sequence[Path], values: Sequence[Values]) -> None:
    """Raise UserError unless the values of all runs are of the same examples."""
    first = values[0]
    for run, of in zip(runs, values, strict=True):
        labels = (each.label for each in (of, first) if each.label is not None)
        if not of.key.equals(first.key) or len({each.tobytes() for each in labels}) > 1:
            raise UserError(
                f"{run / of.what}.parquet is not of the same examples as that of {runs[0]}: "
                "one of them was evaluated on another test."
            )


def of_values(
    ours: Sequence[Values], theirs: Sequence[Values], level: float = 0.95, seed: int = 0
) -> Paired | None:
    """:func:`paired` of values that were read, of the same examples; of an AUC rows of one unit are
    not independent of each other.
    """
    first = ours[0]
    if (label := first.label) is not None:
        if min(label.sum(), (~label).sum()) < 2:
            return None
        one, other = (placements(label, values) for values in (ours, theirs))
        units = (first.unit[label], first.unit[~label])
        several = len(np.unique(first.unit)) < len(first.unit)
        differing = (one.clicks - other.clicks, one.others - other.others)
        return areas(*differing, level, units if several else None)
    ours_mean, theirs_mean = (np.mean([each.value for each in of], axis=0) for of in (ours, theirs))
    apart = even(ours_mean - theirs_mean, ours_mean, theirs_mean)
    return means(first.unit, apart, level, seed)


def mean_of(values: Sequence[Values]) -> float | None:
    """The figure of these examples, a mean over runs; None where it is not defined."""
    if (label := values[0].label) is not None:
        one_kind = label.all() or not label.any()
        return None if one_kind else float(placements(label, values).clicks.mean())
    each = np.mean([of.value for of in values], axis=0)
    each = each[~np.isnan(each)]
    return float(each.mean()) if len(each) else None


def corrected(found: Sequence[Paired]) -> list[Paired]:
    """The same comparisons, with ``holm`` and ``bh`` over all of them."""
    from scipy import stats

    if not found:
        return []
    p = np.array([each.p for each in found])
    bh = stats.false_discovery_control(p)
    return [
        replace(each, holm=float(one), bh=float(other))
        for each, one, other in zip(found, holm(p), bh, strict=True)
    ]


def verdict(line: dict[str, Any], baseline: str, level: float, units: str) -> str:
    """A sentence on a line of a comparison's ``paired``, with Welch's interval over seeds."""
    told, p = f"{line['setting']} minus {baseline}, {line['figure']}: ", p_value(line["holm"])
    low, high = line["difference_low"], line["difference_high"]
    whole = signed(line["difference"], line["low"], line["high"])
    if line["holm"] > 1 - level:
        drawn = _resamples(line["units"])
        if (line["randomisation"] or 1.0) < 1.5 / (1 + drawn):
            return (
                f"{told}{whole}, as large as none of {drawn:,} draws by chance, but so many tests "
                f"were made that none can pass (p {p} after Holm): compare fewer at once."
            )
        seen = f"{line['detectable']:.{places(line['detectable'])}f}"
        return (
            f"{told}{whole.partition(' ')[0]}, which may be noise (p {p} after Holm); a single "
            f"test of these {units} would show one of {seen} in four cases of five."
        )
    told += f"{whole}, more than chance over the {line['units']:,} {units} (p {p} after Holm)"
    if low is None:
        return f"{told}. It is of these weights: one of both has a single seed, or no spread."
    interval = signed(0, low, high).partition(" ")[2]
    if low <= 0 <= high:
        return f"{told}, but not over the seeds {interval}: train more of them."
    return f"{told}, and over the seeds {interval}."


def tell_of_many(found: Sequence[Paired], level: float) -> None:
    """Warn where so many tests are made that none by randomisation can pass Holm's correction."""
    drawn = [_resamples(each.units) for each in found if each.randomisation is not None]
    if drawn and (least := len(found) / (1 + max(drawn))) > 1 - level:
        log.warning(
            "Of %s tests made together none by randomisation can be told from noise: of %s draws p "
            "is at least %.3f after Holm. Compare fewer settings, figures or slices at once.",
            f"{len(found):,}", f"{max(drawn):,}", min(1, least),
        )  # fmt: skip


def _resamples(units: int) -> int:
    return min(RESAMPLES, max(RESAMPLES // 10, DRAWS // units))


def means(
    unit: NDArray[np.int64], each: NDArray[np.float64], level: float, seed: int
) -> Paired | None:
    """The mean of the examples' differences; a unit is a user with one or more of them."""
    from scipy import stats

    defined = ~np.isnan(each)
    if not defined.any():
        return None
    counts = np.bincount(unit[defined])
    sums = np.bincount(unit[defined], weights=each[defined])[counts > 0]
    counts = counts[counts > 0].astype(np.float64)
    units, difference = len(counts), sums.sum() / counts.sum()
    generator = np.random.default_rng(seed)
    resamples = _resamples(units)
    step = max(1, BLOCK_BYTES // (8 * units))
    blocks = [min(step, resamples - start) for start in range(0, resamples, step)]
    resampled, flipped = [], []
    for number in blocks:
        drawn = generator.integers(units, size=(number, units))
        resampled.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
        signs = generator.integers(2, size=(number, units), dtype=np.int8) * 2 - 1
        flipped.append(signs @ sums / counts.sum())
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(resampled), [tail, 1 - tail])
    # The sample itself is one of the draws; a rounding below the difference is no smaller.
    extreme = np.abs(np.concatenate(flipped)) >= abs(difference) * (1 - 1e-12)
    p = (1 + extreme.sum()) / (1 + resamples)
    means = even(sums / counts, each)
    wilcoxon = float(stats.wilcoxon(means).pvalue) if means.any() else 1.0
    # Of a ratio of sums over units, by the residuals of each.
    residuals = (sums - difference * counts) / counts.mean()
    error = residuals.std(ddof=1) / units**0.5 if units > 1 else float("nan")
    spread = means.std(ddof=1) if units > 1 else 0.0
    return Paired(
        units, float(difference), float(low), float(high), float(p), float(p), wilcoxon, None,
        float(means.mean() / spread) if spread > 0 else None, _detectable(error, level),
    )  # fmt: skip


class Placements(NamedTuple):
    """Of a score: the share of non-clicks below each click, of clicks above each non-click."""

    clicks: NDArray[np.float64]
    others: NDArray[np.float64]


def placements(label: NDArray[np.bool_], values: Sequence[Values]) -> Placements:
    """The mean over runs; ties are worth half."""
    from scipy import stats

    clicks, others = [], []
    for each in values:
        every = stats.rankdata(each.value)
        clicks.append((every[label] - stats.rankdata(each.value[label])) / (~label).sum())
        others.append(1 - (every[~label] - stats.rankdata(each.value[~label])) / label.sum())
    return Placements(np.mean(clicks, axis=0), np.mean(others, axis=0))


def areas(
    clicks: NDArray[np.float64],
    others: NDArray[np.float64],
    level: float,
    units: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Paired:
    """The difference of two AUCs over the same rows, of differences of their placements.

    ``units``: the unit, such as the user, of each click and of each other row, whose rows go
    together (Obuchowski, Biometrics 1997, section 2); None where each row is one of its own.
    """
    from scipy import stats

    difference = float(clicks.mean())
    variances = [float(np.var(each, ddof=1)) / len(each) for each in (clicks, others)]
    if units is not None:
        variances = _clustered(clicks, others, units)
    error = max(0.0, float(sum(variances))) ** 0.5
    number = len(clicks) + len(others) if units is None else len(np.unique(np.concatenate(units)))
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    p = float(2 * stats.norm.sf(abs(difference) / error)) if error > 0 else float(difference == 0)
    return Paired(
        number, difference, difference - half, difference + half, p,
        None, None, p, None, _detectable(error, level),
    )  # fmt: skip


def _clustered(
    clicks: NDArray[np.float64],
    others: NDArray[np.float64],
    units: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> list[float]:
    """The parts of the variance of an area whose rows go together by units; their sum is it."""
    count, sums, parts = int(max(each.max() for each in units)) + 1, [], []
    for each, unit in zip((clicks, others), units, strict=True):
        total = np.bincount(unit, weights=each - each.mean(), minlength=count)
        some = len(np.unique(unit))
        parts.append(float((total**2).sum()) * some / max(1, some - 1) / len(each) ** 2)
        sums.append(total / len(each))
    several = len(np.unique(np.concatenate(units)))
    return [*parts, 2 * float(sums[0] @ sums[1]) * several / max(1, several - 1)]


def _detectable(error: float, level: float) -> float:
    """The smallest difference found with 80 % power by a test of this standard error."""
    from scipy import stats

    return float((stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(POWER)) * error)
