"""A/B tests beside scipy and statsmodels, and by simulation where the truth is known."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from lightning_rec.errors import UserError
from lightning_rec.trials import compare_variants
from lightning_rec.trials.power import detectable, users_needed
from lightning_rec.trials.sequential import always, bounds


def users(seed: int = 0, sizes: tuple[int, int] = (300, 260), effect: float = 0.3) -> pl.DataFrame:
    """Clicks out of impressions that differ between users, and a covariate that goes with both."""
    chance = np.random.default_rng(seed)
    variant = np.repeat(["a", "b"], sizes)
    seen = 1 + chance.poisson(8, len(variant))
    taste = chance.beta(2, 5, len(variant))
    clicks = chance.binomial(seen, np.minimum(taste * (1 + effect * (variant == "b")), 1))
    before = taste * 10 + chance.normal(size=len(variant))
    return pl.DataFrame({"variant": variant, "value": clicks, "per": seen, "before": before})


def parts(frame: pl.DataFrame, column: str) -> list[np.ndarray]:
    return [frame.filter(variant=name)[column].to_numpy().astype(float) for name in "ab"]


def test_the_effect_on_a_mean_is_that_of_welch() -> None:
    frame = users()
    a, b = parts(frame, "value")
    found = compare_variants(frame).effects[0]
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert found.difference == pytest.approx(b.mean() - a.mean(), rel=1e-12)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    other = CompareMeans(DescrStatsW(b), DescrStatsW(a)).tconfint_diff(0.1, usevar="unequal")
    wide = compare_variants(frame, level=0.9).effects[0]
    assert (wide.low, wide.high) == pytest.approx(other)


def test_a_ratio_has_the_variance_of_the_delta_method() -> None:
    frame = users()
    expected = []
    for value, per in zip(parts(frame, "value"), parts(frame, "per"), strict=True):
        n, ratio = len(value), value.sum() / per.sum()
        cov = np.cov(value, per)  # the textbook formula of a ratio of two means
        variance = cov[0, 0] - 2 * ratio * cov[0, 1] + ratio**2 * cov[1, 1]
        expected.append((ratio, (variance / n) ** 0.5 / per.mean()))
    found = compare_variants(frame, per="per")
    for arm, (ratio, error) in zip(found.arms, expected, strict=True):
        assert arm.mean == pytest.approx(ratio, rel=1e-12)
        assert arm.error == pytest.approx(error, rel=1e-9)
    lift = expected[1][0] / expected[0][0] - 1
    assert found.effects[0].lift == pytest.approx(lift, rel=1e-9)


def test_cuped_is_the_regression_on_the_covariate() -> None:
    """Within variants, as by ordinary least squares with the variant as another column."""
    frame = users()
    y, x = frame["value"].to_numpy().astype(float), frame["before"].to_numpy()
    is_b = (frame["variant"] == "b").to_numpy().astype(float)
    design = np.column_stack([np.ones(len(y)), is_b, x])
    solution = np.linalg.lstsq(design, y, rcond=None)[0]
    found = compare_variants(frame, covariate="before")
    assert found.effects[0].difference == pytest.approx(solution[1], rel=1e-9)
    plain = compare_variants(frame).effects[0]
    assert found.kept is not None
    assert found.kept < 0.9
    for arm in found.arms:
        own = frame.filter(variant=arm.variant)["value"]
        assert arm.plain == pytest.approx(own.mean())
        assert arm.plain != pytest.approx(arm.mean, abs=1e-6)
    width = found.effects[0].high - found.effects[0].low
    assert width == pytest.approx((plain.high - plain.low) * found.kept**0.5, rel=0.02)


def test_a_bootstrap_of_users_agrees_with_the_delta_method() -> None:
    frame = users(sizes=(900, 800))
    for options in ({}, {"per": "per"}, {"per": "per", "covariate": "before"}):
        by_formula = compare_variants(frame, **options).effects[0]  # type: ignore[arg-type]
        drawn = compare_variants(frame, method="bootstrap", **options).effects[0]  # type: ignore[arg-type]
        width = by_formula.high - by_formula.low
        assert drawn.low == pytest.approx(by_formula.low, abs=0.06 * width)
        assert drawn.high == pytest.approx(by_formula.high, abs=0.06 * width)
        assert drawn.p == pytest.approx(by_formula.p, abs=0.02)
        assert drawn.lift_low == pytest.approx(by_formula.lift_low, abs=0.03)
        assert drawn.lift_high == pytest.approx(by_formula.lift_high, abs=0.03)
        assert (drawn.low, drawn.lift) != (by_formula.low, None)
    few = frame.filter(pl.col("value") > 0).with_columns(value=pl.col("value") * 0 + 1)
    assert compare_variants(few, method="bootstrap").effects[0].p == 1  # nothing differs


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """400 logs of a ratio with a covariate: within three Monte-Carlo errors of 95 %."""
    runs, lift = 400, 0.2
    truth = lift * 2 / 7
    hit = dict.fromkeys(("plain", "cuped", "lift"), 0)
    for seed in range(runs):
        frame = users(seed, (200, 150), lift)
        for name, covariate in (("plain", None), ("cuped", "before")):
            found = compare_variants(frame, per="per", covariate=covariate).effects[0]
            hit[name] += found.low <= truth <= found.high
        assert found.lift_low is not None
        assert found.lift_high is not None
        hit["lift"] += found.lift_low <= lift <= found.lift_high
    error = (0.95 * 0.05 / runs) ** 0.5
    for name, count in hit.items():
        assert count / runs == pytest.approx(0.95, abs=3 * error + 0.005), name


def test_peeking_raises_false_alarms_but_not_by_the_always_valid_interval() -> None:
    """1,000 tests without an effect, looked at after each 200 of 4,000 users."""
    chance, runs, looks, step = np.random.default_rng(3), 1000, 20, 100
    values = chance.exponential(size=(2, runs, looks * step))  # far from normal
    sums, squares = (np.cumsum(v, axis=2)[:, :, step - 1 :: step] for v in (values, values**2))
    counts = np.arange(1, looks + 1) * step
    means = sums / counts
    variance = (squares / counts - means**2) * counts / (counts - 1)
    difference = means[1] - means[0]
    error = np.sqrt(variance.sum(0) / counts)
    assert (np.abs(difference / error) > 1.96).any(1).mean() > 0.2  # what peeking costs
    alarms = np.zeros(runs, dtype=bool)
    for look in range(looks):
        for run in range(runs):
            units = 2 * step * (look + 1)
            found = always(difference[run, look], error[run, look], units, 4000)
            alarms[run] |= found.low > 0 or found.high < 0
            assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert alarms.mean() < 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    fixed = (np.abs(difference / error)[:, 3::4] > bounds(5, "obrien_fleming")).any(1).mean()
    assert fixed == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / runs) ** 0.5 + 0.005)


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [(1, 1.960, 1.960), (2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040),
     (10, 2.555, 2.087)],
)  # fmt: skip
def test_bounds_are_those_of_jennison_and_turnbull(
    looks: int, pocock: float, obrien_fleming: float
) -> None:
    """Group Sequential Methods (2000), tables 2.1 and 2.3, alpha = .05."""
    assert bounds(looks, "pocock") == pytest.approx([pocock] * looks, abs=6e-4)
    expected = [obrien_fleming * (looks / look) ** 0.5 for look in range(1, looks + 1)]
    assert bounds(looks, "obrien_fleming") == pytest.approx(expected, rel=4e-4)


def test_the_always_valid_interval_is_the_published_formula() -> None:
    """Waudby-Smith et al. 2024, theorem 2.2, of a mean of unit variance after t observations."""
    t, alpha = 700, 0.05
    narrow = min(
        ((2 * (t * r2 + 1) / (t**2 * r2)) * np.log(np.sqrt(t * r2 + 1) / alpha)) ** 0.5
        for r2 in np.geomspace(1e-4, 1, 4000)
    )
    found = always(0.0, t**-0.5, t, planned=t)
    assert found.high == pytest.approx(narrow, rel=1e-6)


def test_users_needed_are_those_of_statsmodels_and_find_the_effect_so_often() -> None:
    needed = users_needed(0.2, 1.3, (0.3, 0.6), power=0.9)
    theirs = NormalIndPower().solve_power(0.2 / 1.3, alpha=0.05, power=0.9, ratio=2)
    assert needed == pytest.approx(theirs / 0.3, abs=2)
    assert detectable(needed, 1.3, (0.3, 0.6), power=0.9) == pytest.approx(0.2, rel=1e-3)
    chance, runs, size = np.random.default_rng(0), 1500, users_needed(0.5, 1.0) // 2
    a, b = chance.normal(size=(runs, size)), chance.normal(0.5, size=(runs, size))
    found = (stats.ttest_ind(b, a, axis=1, equal_var=False).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=0.035)


def test_shares_that_are_wrong_are_found_and_right_ones_pass() -> None:
    frame = users(sizes=(5000, 4500))
    found = compare_variants(frame)
    assert found.ratio_p == pytest.approx(stats.chisquare([5000, 4500]).pvalue)
    assert found.lost
    assert not compare_variants(frame, shares={"b": 0.45, "a": 0.5}).lost


def test_several_variants_are_corrected_together() -> None:
    frame = users(sizes=(400, 400), effect=0.2)
    third = users(5, (0, 400), effect=0.1).with_columns(variant=pl.lit("c"))
    found = compare_variants(pl.concat([frame, third]), control="a")
    assert [each.variant for each in found.effects] == ["b", "c"]
    low, high = sorted(each.p for each in found.effects)
    assert sorted(each.holm for each in found.effects) == pytest.approx(
        [2 * low, max(2 * low, high)]
    )


@pytest.mark.parametrize(
    ("frame", "options", "told"),
    [
        (users(sizes=(5, 0)), {}, "one variant, 'a'"),
        (users(sizes=(5, 1)), {}, "'b' has one user"),
        (users().clear(), {}, "no user of any variant"),
        (users(), {"control": "A"}, "control=A is no variant. Did you mean 'a'"),
        (
            users(),
            {"shares": {"a": 0.5, "c": 0.5}},
            "is of a, c, and the log has the variants a, b",
        ),
        (users().with_columns(per=pl.lit(0)), {"per": "per"}, "'per' sums to nothing"),
    ],
)
def test_what_is_no_test_is_refused(frame: pl.DataFrame, options: dict, told: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=told):
        compare_variants(frame, **options)
