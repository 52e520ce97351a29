"""How figures are laid out: mean and spread, intervals, Markdown."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from scipy import stats


def mean_sd(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    sd = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{sd}"


def welch(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Difference of means with Welch's 95 % interval over seeds."""
    test = stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = test.confidence_interval(0.95)
    difference = statistics.fmean(ours) - statistics.fmean(theirs)
    return f"{difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def comparable(runs: Sequence[dict[str, Any]], where: str) -> None:
    """Raise SystemExit if runs are of other data or another protocol, and do not compare."""
    if len({(run["data_hash"], run["protocol_hash"]) for run in runs}) > 1:
        raise SystemExit(f"the runs of {where} are not all of the same data and protocol")


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table; all columns but the first are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
