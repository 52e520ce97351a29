"""What moved: a line for each figure and window of time, judged together.

A drift is told where chance does not explain it and it is large enough: p after Benjamini and
Hochberg (1995) over all lines below 1 - level, and PSI at least .1. A share is told where it is
above its limit by more than chance, likewise. So of logs in which nothing moved at most a share of
1 - level is told of at all. Fewer than 30 users are not judged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl
from scipy import stats

from lightning_rec.monitoring.bins import Distribution
from lightning_rec.monitoring.drift import LEAST, MUCH, SOME, drift

State = Literal["ok", "moved", "far", "few", "told"]


@dataclass(frozen=True)
class Line:
    """A figure of a window.

    value: PSI, a share, or what else ``unit`` says, with its interval.  limit: that it may have.
    ks, p, adjusted: see :class:`Drift`; ``adjusted`` after Benjamini and Hochberg.
    units: users, or requests.  state: ``far`` is PSI from .25 on; ``few`` and ``told`` are not
    judged.  detail: what moved most.
    """

    window: str
    name: str
    unit: Literal["PSI", "share", "ms"]
    value: float
    low: float | None
    high: float | None
    limit: float | None
    ks: float | None
    p: float | None
    adjusted: float | None
    units: int
    state: State = "told"
    detail: str = ""

    @property
    def warns(self) -> bool:
        """Whether somebody should look."""
        return self.state in ("moved", "far")


def drifts(
    window: str,
    found: Mapping[str, pl.DataFrame],
    known: Mapping[str, Distribution],
    level: float,
) -> Iterable[Line]:
    """A line for each figure that is known; of ``unit`` and ``value`` each."""
    for name, rows in found.items():
        if name in known and len(rows):
            of = drift(rows, known[name], level)
            detail = f"{of.most}: {of.before:.1%} → {of.now:.1%}"
            yield Line(
                window, name, "PSI", of.psi, of.low, of.high, SOME, of.ks, of.p, None, of.units,
                detail=detail,
            )  # fmt: skip


def share(
    window: str, name: str, rows: pl.DataFrame, limit: float, level: float, detail: str = ""
) -> Line:
    """The share of ``value`` (boolean) over units, each of weight 1, and whether it is above
    ``limit``; ``rows``: ``unit`` and ``value``.
    """
    means = rows.group_by("unit").agg(pl.col("value").cast(pl.Float64).mean())["value"]
    units, value = len(means), float(means.sum()) / max(1, len(means))
    # Of units whose share is neither 0 nor 1 the variance is less: the test says less.
    test = stats.binomtest(int(value * units + 1e-9), max(1, units), limit, "greater")
    both = stats.binomtest(round(value * units), max(1, units)).proportion_ci(level, "wilson")
    ends = float(both.low), float(both.high)
    p = float(test.pvalue)
    return Line(window, name, "share", value, *ends, limit, None, p, None, units, detail=detail)


def told(window: str, name: str, unit: Literal["share", "ms"], value: float, units: int) -> Line:
    """A figure without a limit."""
    return Line(window, name, unit, value, None, None, None, None, None, None, units)


def judged(lines: Sequence[Line], level: float) -> list[Line]:
    """The same with their states."""
    tested = [n for n, line in enumerate(lines) if line.p is not None and line.units >= LEAST]
    found = [replace(line, state="few") if line.p is not None else line for line in lines]
    if not tested:
        return found
    adjusted = stats.false_discovery_control(np.array([lines[n].p for n in tested]))
    for n, p in zip(tested, adjusted.tolist(), strict=True):
        line, state = lines[n], "ok"
        if p < 1 - level and line.unit == "share" and line.value > (line.limit or 0.0):
            state = "moved"
        elif p < 1 - level and line.value >= SOME:
            state = "far" if line.value >= MUCH else "moved"
        found[n] = replace(line, adjusted=p, state=state)  # type: ignore[arg-type]
    return found


def named(line: Line) -> str:
    """What a line is of."""
    return (
        f"{line.name.replace('_', ' ')}, {line.unit}"
        if line.unit == "PSI"
        else (f"{line.name.replace('_', ' ')}, limit {line.limit:.1%}")
    )


def state(line: Line) -> str:
    """In words."""
    return {"far": "moved far", "few": "too few", "told": ""}.get(line.state, line.state)


def amount(line: Line, value: float | None) -> str:
    """A figure with as many digits as are of use."""
    if value is None:
        return ""
    if line.unit == "share":
        return f"{value:.1%}"
    return f"{value:.3f}" if line.unit == "PSI" else f"{value:.3g} ms"
