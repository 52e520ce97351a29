"""Models of demand beside loops by hand, and what their draws say of sums and of stock."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from demand.made import series
from scipy import optimize, stats

from lightning_rec.demand.neural import Neural, draws, log_likelihood
from lightning_rec.demand.paths import Forecast, around, drawn_moments, joined, past_errors
from lightning_rec.demand.series import Demand
from lightning_rec.demand.smoothing import Local
from lightning_rec.demand.stock import point_of, reorder, stock_of
from lightning_rec.errors import UserError

CHANCE = np.random.default_rng(7)


def smoothed(values: list[float], alpha: float) -> list[float]:
    level = [values[0]]
    for each in values[1:]:
        level.append(level[-1] + alpha * (each - level[-1]))
    return level


def croston_by_hand(counts: Any) -> float:
    sizes, gaps, gap = [], [], 0
    for each in counts:
        gap += 1
        if each:
            sizes.append(float(each))
            gaps.append(float(gap))
            gap = 0
    return 0.95 * smoothed(sizes, 0.1)[-1] / smoothed(gaps, 0.1)[-1]


@pytest.fixture(scope="module")
def sparse() -> Demand:
    return series(CHANCE.poisson(0.6, (12, 40)) + np.eye(12, 40, dtype=int))


def test_croston_is_the_loop_of_its_definition(sparse: Demand) -> None:
    pytest.importorskip("statsforecast")
    found, _ = Local("croston").points(sparse, 3)
    for row in range(12):
        expected = croston_by_hand(sparse.counts[row, sparse.first[row] :])
        assert found[row] == pytest.approx([expected] * 3, rel=1e-6)


def test_naive_is_the_last_one_and_smoothing_that_of_least_error(sparse: Demand) -> None:
    pytest.importorskip("statsforecast")
    found, _ = Local("naive").points(sparse, 2)
    assert found.tolist() == [[each] * 2 for each in sparse.counts[:, -1]]
    level = 200 + np.cumsum(CHANCE.normal(0, 8, (5, 80)), axis=1)
    demand = series(np.round(level + CHANCE.normal(0, 10, level.shape)))
    found, _ = Local("ses").points(demand, 2)
    for row, own in enumerate(demand.counts.tolist()):

        def loss(alpha: float, own: list[float] = own) -> float:
            return float(np.sum((np.array(own[1:]) - np.array(smoothed(own, alpha)[:-1])) ** 2))

        best = optimize.minimize_scalar(loss, bounds=(0.01, 0.99), method="bounded").x
        assert found[row] == pytest.approx([smoothed(own, best)[-1]] * 2, rel=2e-3)


def test_a_season_is_what_was_a_season_before() -> None:
    pytest.importorskip("statsforecast")
    demand = series(np.tile([1, 2, 3], (2, 5)))
    found = Local("seasonal", season=3)(demand, 4)
    assert found.mean.tolist() == [[1, 2, 3, 1]] * 2
    assert (found.paths == found.mean).all()  # it was never wrong
    with pytest.raises(UserError, match="needs 13 periods"):
        Local("seasonal", season=13)(demand, 4)


def test_what_comes_two_seasons_ahead_is_less_sure_than_in_one() -> None:
    pytest.importorskip("statsforecast")
    steps = np.random.default_rng(0).normal(0, 10, (200, 40, 3))
    found = Local("seasonal", season=3)(series(500.5 + steps.cumsum(1).reshape(200, -1)), 6)
    spread = found.paths.std(0).mean(0)
    assert spread[3:] / spread[:3] == pytest.approx([2**0.5] * 3, rel=0.05)


@pytest.mark.parametrize("name", ["naive", "ses", "croston", "tsb"])
def test_what_is_expected_agrees_with_quantiles_and_with_the_risk(
    sparse: Demand, name: str
) -> None:
    pytest.importorskip("statsforecast")
    counts = sparse.counts.copy()
    counts[0] = 2 * (np.arange(40) == 15)  # once, and never again
    demand = series(counts)
    found = Local(name)(demand, 4)
    assert found.mean == pytest.approx(found.paths.mean(0, dtype=np.float64), abs=1e-6)
    assert not (found.paths % 1).any()  # of whole pieces, as the log is
    stock = pl.DataFrame({"item": demand.keys, "stock": [0] * 12})
    told = reorder(demand, found, 2, 0.95, stock_of(stock, "stock.csv"))
    for row in told.iter_rows(named=True):
        assert row["expected"] >= row["stock_out"]  # of whole pieces, one at least is asked for
        assert (row["reorder_point"] > 0) == (row["stock_out"] > 0.05)
    points = Local(name).points(demand, 4)[0]  # what the library says is what is expected
    assert found.mean.mean() == pytest.approx(points.mean(), rel=0.05)
    assert found.mean == pytest.approx(points, abs=0.15)
    if name == "naive":
        of = told.filter(item="i0").select("expected", "reorder_point", "stock_out")
        assert of.row(0) == (0, 0, 0)


@pytest.mark.parametrize("block", [1, 3000, 1 << 22])
def test_paths_move_until_their_mean_is_what_is_expected(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the definition: all move by as much, and none is below 0."""
    monkeypatch.setattr("lightning_rec.demand.paths.BLOCK", block)
    draws = CHANCE.normal(0, 2, (400, 6, 3))
    mean = CHANCE.random((6, 3)) * 3
    mean[0], mean[1] = 0, 1e-6
    found = draws.copy()
    around(found, mean)
    assert found.min() == 0
    assert found.mean(0) == pytest.approx(mean, abs=1e-9)
    moved = np.where(found > 0, draws - found, np.nan)[:, 2:]
    assert np.nanmax(moved, 0) == pytest.approx(np.nanmin(moved, 0))
    assert (draws[:, 2:] - np.nanmax(moved, 0) <= found[:, 2:] + 1e-9).all()


def test_parts_of_a_piece_are_neither_always_short_nor_lost() -> None:
    """Of a rate of .5 pieces, more than nothing is asked for in 39 % of periods."""
    pytest.importorskip("statsforecast")
    counts = np.random.default_rng(1).poisson(0.5, (200, 60))
    found = Local("ses")(series(counts), 1)
    assert (found.over(1) > 0).mean() == pytest.approx(1 - np.exp(-0.5), abs=0.06)
    assert found.mean.mean() == pytest.approx(0.5, abs=0.06)
    halves = Local("ses")(series(counts * 1.5), 1)
    assert (halves.paths % 1).any()  # weights are no pieces


def test_past_errors_are_those_of_one_moment() -> None:
    counts = CHANCE.poisson(3, (3, 12)).astype(float)
    fitted = CHANCE.random((3, 12))
    fitted[:, 0] = np.nan
    for season, after in ((1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2])):
        found = past_errors(counts, fitted, 3, season)
        assert found.shape == (3, 9, 3)
        for item, moment, ahead in np.ndindex(found.shape):
            of = fitted[item, moment + 1 + after[ahead]]
            assert found[item, moment, ahead] == counts[item, moment + 1 + ahead] - of


def test_errors_of_all_items_are_drawn_together() -> None:
    errors = np.zeros((3, 9, 2))
    errors[2, :5] = np.nan
    at = drawn_moments(np.array([0, 0, 5]), errors, np.random.default_rng(0))
    assert np.array_equal(at[:, 0], at[:, 1])
    assert set(at[:, 0]) == set(range(9))
    assert at[:, 2].min() == 5
    late = at[:, 0] >= 5
    assert np.array_equal(at[late, 2], at[late, 0])
    with pytest.raises(UserError, match="raise history="):
        drawn_moments(np.array([0]), np.full((1, 4, 2), np.nan), np.random.default_rng(0))


def test_what_moved_all_items_at_once_is_kept_in_sums() -> None:
    common = CHANCE.normal(size=60)
    noise = np.random.default_rng(2)
    errors = np.stack([common[:, None] + 0.2 * noise.normal(size=(60, 1)) for _ in range(20)])
    paths = noise.poisson(9, (400, 20, 1)).astype(np.float32)
    found = joined(paths, np.zeros(20, dtype=np.int64), errors, noise)
    assert np.array_equal(np.sort(found, 0), np.sort(paths, 0))
    apart, together = (each.sum(1).var() for each in (paths, found))
    assert apart == pytest.approx(20 * 9, rel=0.3)
    assert together > 0.8 * 20**2 * 9  # all but the noise


def poisson_paths(rates: list[float], steps: int, number: int = 40_000) -> Forecast:
    rate = np.broadcast_to(np.array(rates)[:, None], (len(rates), steps))
    paths = np.random.default_rng(3).poisson(rate, (number, *rate.shape))
    return Forecast(rate.copy(), paths.astype(np.float32))


def test_the_reorder_point_is_that_of_the_sum_of_a_lead_time() -> None:
    rates, lead, service = [0.2, 3.0, 11.0], 3, 0.95
    forecast = poisson_paths(rates, 4)
    exact = stats.poisson(np.array(rates) * lead).ppf(service)
    assert point_of(forecast, lead, service).tolist() == exact.tolist()
    added = lead * stats.poisson(np.array(rates)).ppf(service)
    assert (added[1:] > exact[1:]).all()  # quantiles do not add up
    stock = pl.DataFrame({"item": ["i1", "i0", "i2"], "stock": [12, 0, 900]})
    found = reorder(series(np.ones((3, 5))), forecast, lead, service, stock_of(stock, "stock.csv"))
    for row in found.iter_rows(named=True):
        rate = rates[int(row["item"][1])]
        assert row["stock_out"] == pytest.approx(
            stats.poisson(rate * lead).sf(row["stock"]), abs=0.01
        )
        assert row["short"] == max(0, row["reorder_point"] - row["stock"])
    assert found["stock_out"].is_sorted(descending=True)
    whole = reorder(series(np.ones((3, 5))), forecast, lead, service, None)
    assert whole["item"].to_list() == ["i2", "i1", "i0"]


def test_stock_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"stock\.csv has no column 'stock'"):
        stock_of(pl.DataFrame({"item": ["a"], "left": [1]}), "stock.csv")
    for wrong in ("-1", "many", None):
        with pytest.raises(UserError, match="the stock in row 2"):
            stock_of(pl.DataFrame({"item": ["a", "b"], "stock": ["3", wrong]}), "stock.csv")
    for odd in (np.inf, np.nan, -0.5):
        with pytest.raises(UserError, match="the stock in row 2, of item b, is"):
            stock_of(pl.DataFrame({"item": ["a", "b"], "stock": [3.0, odd]}), "stock.csv")
    with pytest.raises(UserError, match=r"item a stands there twice \(rows 1, 3\)"):
        stock_of(pl.DataFrame({"item": ["a", "b", "a"], "stock": [3, 4, 4]}), "stock.csv")
    with pytest.raises(UserError, match=r"stock\.csv: row 2 names no item"):
        stock_of(pl.DataFrame({"item": ["a", ""], "stock": [3, 4]}), "stock.csv")
    with pytest.raises(UserError, match=r"stock\.csv has no rows"):
        stock_of(pl.DataFrame({"item": [], "stock": []}), "stock.csv")
    with pytest.raises(UserError, match="none of its items is in the log"):
        reorder(series(np.ones((3, 5))), poisson_paths([1, 1, 1], 2), 2, 0.9,
                stock_of(pl.DataFrame({"item": ["z"], "stock": [3]}), "stock.csv"))  # fmt: skip


def test_sums_over_items_are_sums_of_draws() -> None:
    forecast = poisson_paths([1.0, 2.0, 3.0], 2, 50)
    found = forecast.summed(np.array([1, 0, 1]), 2)
    assert found.mean.tolist() == [[2, 2], [4, 4]]
    assert np.array_equal(found.paths[:, 1], forecast.paths[:, 0] + forecast.paths[:, 2])
    assert found.quantiles().shape == (5, 2, 2)


def test_the_likelihood_is_that_of_a_negative_binomial() -> None:
    count = torch.arange(30, dtype=torch.float64)
    mean, shape = torch.full_like(count, 4.0), torch.full_like(count, 0.3)
    n = 1 / 0.3
    expected = stats.nbinom(n, n / (n + 4)).logpmf(count.numpy())
    assert log_likelihood(count, mean, shape).numpy() == pytest.approx(expected, rel=1e-6)
    drawn = draws(torch.full((200_000,), 4.0), torch.full((200_000,), 0.3), CHANCE).double()
    assert float(drawn.mean()) == pytest.approx(4, rel=0.02)
    assert float(drawn.var()) == pytest.approx(4 + 0.3 * 16, rel=0.05)


def test_the_network_learns_a_week_and_a_feature_and_is_calibrated() -> None:
    rate = np.tile([1, 1, 1, 1, 6, 12, 3], 8)[None] * np.repeat([[0.5], [2.0]], 20, 0)
    demand = series(CHANCE.poisson(rate), "day", np.repeat([[0.0], [1.0]], 20, 0))
    found = Neural(epochs=40)(demand, 7)
    expected = np.tile([1, 1, 1, 1, 6, 12, 3], 1)[None] * np.repeat([[0.5], [2.0]], 20, 0)
    assert np.abs(found.mean - expected).sum() / expected.sum() < 0.25
    came = np.random.default_rng(1).poisson(expected)
    low, *_, high = found.quantiles()
    assert 0.72 <= ((came >= low) & (came <= high)).mean() <= 0.97
    apart = np.abs(found.paths.mean(0) - found.mean)  # but for sampling
    assert (apart < 5 * found.paths.std(0) / np.sqrt(len(found.paths)) + 1e-3).all()
    again = Neural(epochs=40)(demand, 7)
    assert np.array_equal(found.paths, again.paths)
    assert not np.array_equal(found.paths, Neural(seed=2, epochs=40)(demand, 7).paths)


def test_a_quantity_that_is_no_whole_number_is_not_counted() -> None:
    with pytest.raises(UserError, match="whole numbers"):
        Neural()(series(np.full((2, 12), 1.5)), 2)


def test_nothing_after_the_origin_moves_a_forecast(sparse: Demand) -> None:
    other = replace(sparse, counts=sparse.counts.copy())
    other.counts[:, 30:] = CHANCE.poisson(50, (12, 10))
    models: list[Any] = [Neural(epochs=2)]
    if pytest.importorskip("statsforecast"):
        models = [*models, Local("ses"), Local("croston")]
    for model in models:
        one, two = (model(each.until(30, 8, 1)[0], 4) for each in (sparse, other))
        assert np.array_equal(one.paths, two.paths)
        assert np.array_equal(one.mean, two.mean)
