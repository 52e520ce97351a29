"""Figures of drift beside their definitions, and how often logs in which nothing moved are told."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from monitoring.simulated import log_of, reference_of_log
from scipy import stats

from lightning_rec.monitoring.bins import distribution, of_table, to_table
from lightning_rec.monitoring.drift import chi_square, drift, psi
from lightning_rec.monitoring.judging import Line, judged, share
from lightning_rec.monitoring.reference import Reference
from lightning_rec.monitoring.requests import Watching, watched


def frame(values: Any, unit: Any = None) -> pl.DataFrame:
    units = range(len(values)) if unit is None else unit
    return pl.DataFrame({"unit": [f"u{each}" for each in units], "value": values})


def test_psi_is_its_sum() -> None:
    one, other = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    expected = sum((p - r) * math.log(p / r) for p, r in zip(one, other, strict=True))
    assert psi(one, other, 1e12, 1e12) == pytest.approx(expected)
    assert psi(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 10, 10) == pytest.approx(
        2 * (10.5 / 11 - 0.5 / 11) * math.log(10.5 / 0.5)  # half a unit in each bin
    )


def test_of_numbers_the_gap_and_its_p_are_those_of_scipy_where_bins_lose_nothing() -> None:
    chance = np.random.default_rng(1)
    before, now = chance.integers(0, 40, 900), chance.integers(3, 43, 500)  # 40 values: own bins
    known = distribution(frame(before))
    found = drift(frame(now), known, 0.95)
    oracle = stats.ks_2samp(now.clip(None, 39), before, method="asymp")
    assert found.ks == pytest.approx(oracle.statistic, abs=1e-12)
    assert found.p == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.low < found.psi < found.high


def test_psi_of_a_shift_is_about_that_of_the_densities_and_the_interval_has_it() -> None:
    """In ten bins of equal share the shift of a normal by d has a known PSI."""
    shift = 0.6
    edges = stats.norm.ppf(np.arange(1, 10) / 10)
    cells = np.diff(np.concatenate([[0], stats.norm.cdf(edges - shift), [1]]))
    truth = float(((cells - 0.1) * np.log(cells / 0.1)).sum())
    chance, within, values = np.random.default_rng(2), 0, []
    for seed in range(40):
        known = distribution(frame(chance.normal(0, 1, 2000)))
        found = drift(frame(chance.normal(shift, 1, 400)), known, 0.95, seed)
        within += found.low <= truth <= found.high
        values.append(found.psi)
    assert np.mean(values) == pytest.approx(truth, abs=0.02)  # its bias is taken off
    assert within >= 34


def test_chi_square_is_that_of_scipy_over_the_bins_that_are_left() -> None:
    one, other = np.array([50.0, 30, 1, 0]), np.array([400.0, 500, 3, 1])
    table = np.array([[50, 30, 1], [400, 500, 4]])
    assert chi_square(one, other) == pytest.approx(
        stats.chi2_contingency(table, correction=False).pvalue
    )
    assert chi_square(np.zeros(2), other[:2]) == 1.0


def test_each_user_counts_once() -> None:
    """A thousand rows of one user are one user."""
    known = distribution(frame(["a", "b"] * 200))
    loud = frame(["a"] * 1000 + ["a", "b"] * 50, [0] * 1000 + list(range(1, 101)))
    assert drift(loud, known, 0.95).p > 0.5
    assert drift(frame(["a"] * 1000 + ["a", "b"] * 50), known, 0.95).p < 1e-6


def test_empty_values_are_a_bin_and_the_table_reads_back() -> None:
    known = {
        "n": distribution(frame([1.0, 2.0, None, 4.0, math.nan])),
        "c": distribution(frame(["a", None, "a", "b"])),
    }
    assert known["n"].shares[-1] == pytest.approx(0.4)
    assert dict(zip(known["c"].bins, known["c"].shares, strict=True)) == {
        "a": 0.5, "b": 0.25, "unknown": 0.0, "(other)": 0.0, "(empty)": 0.25
    }  # fmt: skip
    back = of_table(to_table(known))
    for name, of in known.items():
        assert back[name].bins == of.bins
        np.testing.assert_array_equal(back[name].shares, of.shares)
        np.testing.assert_array_equal(back[name].edges, of.edges)
    moved = drift(frame([None] * 50 + [1.0] * 50), known["n"], 0.95)
    assert moved.now + moved.before > 0


def line(p: float, value: float = 1.0, units: int = 100) -> Line:
    return Line("all", "x", "PSI", value, None, None, 0.1, None, p, None, units)


def test_p_is_adjusted_as_statsmodels_does() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    ps = [0.001, 0.2, 0.004, 0.03, 0.9, 0.0005]
    found = judged([*map(line, ps), line(0.0, units=29)], 0.95)
    oracle = multitest.multipletests(ps, method="fdr_bh")[1]
    assert [each.adjusted for each in found[:-1]] == pytest.approx(oracle.tolist())
    assert [each.state for each in found] == ["far", "ok", "far", "far", "ok", "far", "few"]
    assert judged([line(0.0, 0.05), line(0.0, 0.2)], 0.95)[0].state == "ok"  # too small to matter


def test_a_share_above_its_limit_is_judged_by_the_binomial_distribution() -> None:
    found = share("all", "errors", frame([True] * 9 + [False] * 191), 0.01, 0.95)
    assert found.value == pytest.approx(0.045)
    assert found.p == pytest.approx(stats.binom.sf(8, 200, 0.01))
    one_user = share("all", "errors", frame([True] * 99 + [False], [0] * 99 + [1]), 0.01, 0.95)
    assert one_user.units == 2
    assert judged([one_user], 0.95)[0].state == "few"


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of_log(log_of(10_000, users=2000))


def states(reference: Reference, lines: pl.DataFrame) -> dict[str, str]:
    asked = Watching()
    found = judged(list(watched(lines, reference, asked)), asked.level)
    return {each.name: each.state for each in found}


def test_of_200_clean_logs_no_more_are_told_than_is_said(reference: Reference) -> None:
    asked, told, few = Watching(), 0, 0
    for seed in range(200):
        found = judged(list(watched(log_of(seed, users=40), reference, asked)), asked.level)
        told += any(each.warns for each in found)
        few += any(each.state == "few" for each in found)
    # One in a hundred is said: above six of 200 has a chance of one in two hundred.
    assert told <= 6
    assert few < 20


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ({"dead": "hats"}, "kind of histories"),
        ({"renamed": "sku-"}, "popularity of histories"),
        ({"hours": 6}, "hours"),
        ({"stuck": 0.5}, "best scores"),
        ({"empty": True}, "length of histories"),
    ],
)
def test_what_is_broken_is_found_and_named(
    reference: Reference, broken: dict[str, Any], named: str
) -> None:
    lines = log_of(77, **broken)
    found = judged(list(watched(lines, reference, Watching())), 0.99)
    moved = [each for each in found if each.warns]
    assert max(moved, key=lambda each: each.value).name == named
    detail = next(each.detail for each in moved if each.name == named)
    if "dead" in broken:
        assert detail.startswith("hats: ")
        assert detail.endswith(" → 0.0%")
        assert {each.name for each in moved} <= {named, "kind of first items"}
    if "renamed" in broken:
        assert detail == "unknown: 0.0% → 100.0%"
        assert {"unknown_items"} <= {each.name for each in moved}
    if "hours" in broken or "stuck" in broken:
        assert [each.name for each in moved] == [named]


def test_what_is_refused_is_told_and_users_that_are_unknown_stand_apart(
    reference: Reference,
) -> None:
    lines, first = log_of(77), pl.col("order") % 5 == 0
    kinds: list[tuple[int, str, str | None]] = [
        (400, "refused", "refused"), (422, "invalid", "refused"), (404, "unknown_user", "unknown_users"),
        (429, "rate_limited", None), (403, "forbidden", None), (500, "internal", "errors"),
    ]  # fmt: skip
    for status, code, name in kinds:
        odd = lines.with_columns(
            status=pl.when(first).then(status).otherwise("status"),
            code=pl.when(first).then(pl.lit(code)).otherwise("code"),
        )
        found = judged(list(watched(odd, reference, Watching())), 0.99)
        shares = {"errors", "refused", "unknown_users"}
        moved = [each.name for each in found if each.warns and each.name in shares]
        assert moved == [name] * (name is not None)


def test_a_day_that_is_broken_is_found_among_days(reference: Reference) -> None:
    days = [log_of(n, start=f"2026-11-{2 + n:02d}") for n in range(5)]
    days.append(log_of(5, start="2026-11-07", hours=8))
    asked = Watching(every="1d")
    found = judged(list(watched(pl.concat(days), reference, asked)), asked.level)
    assert {(each.window, each.name) for each in found if each.warns} == {("2026-11-07", "hours")}
    last = Watching(every="1d", last=1)
    assert {each.window for each in watched(pl.concat(days), reference, last)} == {"2026-11-07"}


def test_a_day_that_has_just_begun_has_no_hours() -> None:
    known = reference_of_log(log_of(0))
    days = [log_of(1), log_of(2, start="2026-11-03").filter(pl.col("time").dt.hour() < 9)]
    lines = pl.concat(days).drop("order").with_row_index("order")
    for every, wanted in (("1d", {"2026-11-02"}), (None, {"all"})):
        found = watched(lines, known, Watching(every=every))
        assert {each.window for each in found if each.name == "hours"} == wanted
    alone = list(watched(days[1], known, Watching()))
    assert alone
    assert not [each for each in alone if each.name == "hours"]
