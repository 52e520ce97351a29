"""Mean, standard deviation and confidence intervals over seeds; Welch's test of two groups."""

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of a figure over runs; ``sd`` is None for a single run."""

    mean: float
    sd: float | None
    runs: int = 1

    def __str__(self) -> str:
        """``0.0943 ± 0.0027``."""
        return f"{self.mean:.4f}" + (f" ± {self.sd:.4f}" if self.sd is not None else "")

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """Student's confidence interval of the mean; None for a single run."""
        if self.sd is None:
            return None
        from scipy import stats  # slow to import

        half = float(stats.t.ppf((1 + level) / 2, self.runs - 1)) * self.sd / self.runs**0.5
        return self.mean - half, self.mean + half


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation. Raises StatisticsError if there is no value."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, len(values))


@dataclass(frozen=True)
class Difference:
    """Difference of two means, its confidence interval, and the p-value that it is none.

    ``low``, ``high`` and ``p`` are None where the test is not defined: a group of a single run, or
    two groups without any spread.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None

    def __str__(self) -> str:
        """``+0.0145 [+0.0102, +0.0189]``."""
        return signed(self.mean, self.low, self.high)


def places(scale: float) -> int:
    """Decimals that show a number of this size by two digits: four, and more where it is small."""
    size = abs(scale)
    return (
        4 if size >= 1e-3 or size < 1e-8 or math.isnan(size) else 1 - math.floor(math.log10(size))
    )


def signed(difference: float, low: float | None = None, high: float | None = None) -> str:
    """A difference with its interval, to the decimals that the interval's width needs."""
    if low is None or high is None:
        return f"{difference:+.{places(difference)}f}"
    digits = places(high - low)
    return f"{difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def amount(value: float) -> str:
    """A cost by three digits, or whole: ``0.0412``, ``3.52``, ``1,234``."""
    digits = 0 if abs(value) >= 100 or not value else 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(digits, 4)}f}"


def p_value(value: float | None) -> str:
    """A p-value as it is printed; nothing if there is none."""
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def welch(ours: Sequence[float], theirs: Sequence[float], level: float = 0.95) -> Difference:
    """Welch's t-test of two groups of runs: ``ours`` minus ``theirs``.

    B. L. Welch, The generalization of "Student's" problem when several different population
    variances are involved, Biometrika 34 (1947). Runs are taken as independent; where the same
    users are measured, a paired test over users sees smaller differences.
    """
    mean = statistics.fmean(ours) - statistics.fmean(theirs)
    if min(len(ours), len(theirs)) < 2 or len(set(ours)) == len(set(theirs)) == 1:
        return Difference(mean, None, None, None)
    from scipy import stats  # slow to import

    with warnings.catch_warnings():  # one group may be constant: a model that is fitted at once
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(level)
    return Difference(mean, float(low), float(high), float(test.pvalue))
