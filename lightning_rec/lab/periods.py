"""Figures over several tests, such as the windows of a backtest, whose users may come again."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.lab.examples import Values
from lightning_rec.lab.paired import Paired, areas, mean_of, means, of_values, placements


def of_periods(
    ours: Sequence[Values], theirs: Sequence[Values], level: float = 0.95
) -> Paired | None:
    """:func:`of_values` over several tests, one model of each side in each; units go by their keys.

    An AUC is that within each test, in the mean by their rows: scores of two models, and of two
    tests, are on scales of their own. None where it is not defined.
    """
    if ours[0].label is None:
        return of_values([_joined(ours)], [_joined(theirs)], level)
    kept = [pair for pair in zip(ours, theirs, strict=True) if _has_area(pair[0])]
    if not kept:
        return None
    parts: list[list[NDArray[np.float64]]] = [[], []]
    rows = sum(len(one.value) for one, _ in kept)
    labels = np.concatenate([one.label for one, _ in kept])
    difference = 0.0
    for one, other in kept:
        assert one.label is not None
        both = [placements(one.label, [each]) for each in (one, other)]
        share = len(one.value) / rows
        apart = float(np.mean(both[0].clicks - both[1].clicks))
        difference += share * apart
        for part, mine, of, number in zip(
            parts, *both, (labels.sum(), (~labels).sum()), strict=True
        ):
            # The mean of such parts is that of the tests, each as much as it has rows.
            part.append((mine - of - apart) * share * number / len(mine))
    unit = _joined([one for one, _ in kept]).unit
    clicks, others = (np.concatenate(part) + difference for part in parts)
    return areas(clicks, others, level, (unit[labels], unit[~labels]))


def alone(values: Values, level: float = 0.95) -> tuple[float, float] | None:
    """The interval of a figure itself, not of a difference: over units, as of :class:`Paired`."""
    if values.label is None:
        found = means(values.unit, values.value, level, 0)
    elif _has_area(values):
        own, units = placements(values.label, [values]), values.unit
        found = areas(*own, level, (units[values.label], units[~values.label]))
    else:
        found = None
    return None if found is None else (found.low, found.high)


def _has_area(values: Values) -> bool:
    """Whether the AUC of rows has an interval: two of each class or more."""
    assert values.label is not None
    return bool(min(values.label.sum(), (~values.label).sum()) > 1)


def _joined(values: Sequence[Values]) -> Values:
    """Examples of several tests, whose units go by their keys."""
    key = pl.concat([each.key for each in values])
    unit = key.rank("dense").to_numpy().astype(np.int64) - 1
    return Values(values[0].what, key, unit, np.concatenate([each.value for each in values]))


def mean_over(values: Sequence[Values]) -> float | None:
    """The figure of several tests, as of :func:`of_periods`; None where it is not defined."""
    if values[0].label is None:
        return mean_of([_joined(values)])
    kept = [each for each in values if _has_area(each)]
    areas = [mean_of([each]) for each in kept]
    rows = [len(each.value) for each in kept]
    return float(np.average(areas, weights=rows)) if kept else None  # type: ignore[arg-type]
