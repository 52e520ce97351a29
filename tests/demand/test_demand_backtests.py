"""Figures of a backtest by hand, their intervals, and the rolling origin."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from demand.made import series

from lightning_rec.demand.backtests import Backtest, Plan, backtest, scales
from lightning_rec.demand.measures import figures_of
from lightning_rec.demand.paths import Forecast
from lightning_rec.demand.series import Demand
from lightning_rec.errors import UserError

COUNTS = [[2, 0, 3, 1, 4, 2, 1, 0], [0, 1, 1, 2, 0, 5, 3, 2], [1, 1, 1, 1, 1, 1, 2, 1]]
OFF = np.arange(10) / 10  # of the draws from the mean


class Fixed:
    """Forecasts ``value`` of each item at each origin, and shows what it was given."""

    def __init__(self, name: str, value: float) -> None:
        self.name, self.value = name, value
        self.seen: list[Any] = []

    def __call__(self, demand: Demand, steps: int) -> Forecast:
        self.seen.append(demand.counts)
        mean = np.full((len(demand.keys), steps), float(self.value))
        return Forecast(mean, (mean + OFF[:, None, None]).astype(np.float32))


def value(found: Any, level: str, model: str, figure: str) -> Any:
    (one,) = [each for each in found if each[:3] == (level, model, figure)]
    return one


def test_figures_are_those_by_hand() -> None:
    plan = Plan(horizon=2, windows=2, history=3, lead_time=2, service=0.9)
    models = [Fixed("one", 1), Fixed("three", 3)]
    made = backtest(series(COUNTS), models, plan)
    assert [each.shape for each in models[0].seen] == [(3, 5), (3, 6)]  # nothing that comes
    assert np.array_equal(models[0].seen[0], np.array(COUNTS)[:, :5])
    found = figures_of(made, 0.9, 1)
    counts = np.array(COUNTS, dtype=float)
    errors, came, scaled, roots, served = [], [], [], [], []
    for row in range(3):
        squares = []
        for origin in (5, 6):
            past = counts[row, (counts[row] > 0).argmax() : origin]
            actual, change = counts[row, origin : origin + 2], np.diff(past)
            errors += [1 - actual]
            came += [actual]
            served += [actual.sum() <= 4]  # the least whole number from 2 + 2 * 0.8
            if np.abs(change).sum():
                scaled += [*(np.abs(actual - 1) / np.abs(change).mean())]
                squares += [*((actual - 1) ** 2 / (change**2).mean())]
        if squares:
            roots.append(np.sqrt(np.mean(squares)))
    all_errors, all_came = np.concatenate(errors), np.concatenate(came)
    expected = {
        "mase": np.mean(scaled),  # the third item never changed before
        "rmsse": np.mean(roots),
        "wape": np.abs(all_errors).sum() / all_came.sum(),
        "bias": all_errors.sum() / all_came.sum(),
        "coverage": (all_came == 1).mean(),
        "served": np.mean(served),
        "pinball": sum(
            2 * max(q * (y - 1 - off), (q - 1) * (y - 1 - off)) / 5
            for q, off in ((0.1, 0), (0.25, 0.2), (0.5, 0.4), (0.75, 0.7), (0.9, 0.8))
            for y in all_came
        ) / all_came.sum(),
    }  # fmt: skip
    for figure, by_hand in expected.items():
        one = value(found, "item", "one", figure)
        assert one.value == pytest.approx(by_hand), figure
        assert one.low <= one.value <= one.high
        other = value(found, "item", "three", figure)
        assert other.difference == pytest.approx(other.value - one.value)
        assert other.difference_low <= other.difference <= other.difference_high
    twice = backtest(series(COUNTS), [Fixed("one", 1), Fixed("same", 1)], plan)
    same = value(figures_of(twice, 0.9, 1), "item", "same", "wape")
    assert (same.difference_low, same.difference_high) == (0, 0)  # of the same items
    total = value(found, "total", "one", "wape")
    assert total.value == pytest.approx(
        sum(np.abs(3 - counts[:, o : o + 2].sum(0)).sum() for o in (5, 6)) / all_came.sum()
    )
    assert total.low is None
    assert value(found, "category", "one", "wape").series == 2


def test_levels_add_up() -> None:
    made = backtest(series(COUNTS), [Fixed("two", 2)], Plan(2, 2, 3, lead_time=1))
    sums = made.table.group_by("level", "origin", "step").agg(pl.col("mean", "actual").sum())
    apart = sums.group_by("origin", "step").agg(pl.col("mean", "actual").n_unique())
    assert apart["mean"].to_list() == apart["actual"].to_list() == [1] * 4
    assert made.coverage.to_dicts()[0] == {
        "origin": "2024-02-05", "items": 3, "of": 3, "share": 1.0,
    }  # fmt: skip


def test_scales_begin_with_the_first_sale() -> None:
    one, two = scales(np.array([[0.0, 0, 3, 1, 2]]), np.array([2]))
    assert one.tolist() == [1.5]
    assert two.tolist() == [2.5]


def test_an_interval_over_series_is_that_of_the_mean() -> None:
    """Of independent ratios it is as wide as the normal approximation says."""
    chance = np.random.default_rng(0)
    rows = 400
    error = chance.exponential(1, rows)
    table = pl.DataFrame(
        {"model": "m", "level": "item", "series": [f"{n:03d}" for n in range(rows)], "origin": "o",
         "step": 1, "actual": 10.0, "mean": 10 + error, "scale": 1.0, "scale2": 1.0}
    ).with_columns(pl.col("mean").alias(q) for q in ("q10", "q25", "q50", "q75", "q90"))  # fmt: skip
    lead = table.select("model", "level", "series", "origin", "actual", reorder=pl.lit(10.0))
    found = value(figures_of(Backtest(table, lead, table), 0.95, 1), "item", "m", "mase")
    half = 1.96 * error.std() / np.sqrt(rows)
    assert found.value == pytest.approx(error.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.12)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"horizon": 4}, "8 whole periods, and horizon=4, windows=6 and history=8 take 17"),
        ({"horizon": 1, "lead_time": 2}, "lead_time=2 is longer than horizon=1"),
        ({"service": 1.0}, "service=1: it has to be between 0 and 1"),
        ({"windows": 0}, "windows=0: it has to be 1 or more"),
        ({"horizon": 1, "windows": 1, "history": 2, "lead_time": 1, "least": 99}, "No item has"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        backtest(series(COUNTS), [Fixed("one", 1)], Plan(**plan))
