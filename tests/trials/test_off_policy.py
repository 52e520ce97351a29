"""Off-policy estimates beside their definitions, and where the truth is known by simulation."""

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge

from lightning_rec.errors import UserError
from lightning_rec.trials.bandits import Estimate, OffPolicy, off_policy
from lightning_rec.trials.rewards import fitted, with_rewards

CONTEXTS, ACTIONS = 3, 5
_CHANCE = np.random.default_rng(11)
REWARD = expit(_CHANCE.normal(size=(CONTEXTS, 1)) + _CHANCE.normal(size=ACTIONS))
LOGGING = _CHANCE.dirichlet([2] * ACTIONS, CONTEXTS)
TARGET = LOGGING * np.exp(4 * REWARD)
TARGET /= TARGET.sum(1, keepdims=True)
TRUTH = float((TARGET * REWARD).sum(1).mean())  # contexts are alike frequent


def policy() -> pl.DataFrame:
    place = np.indices(TARGET.shape).reshape(2, -1).astype(str)
    return pl.DataFrame({"in c": place[0], "action": place[1], "probability": TARGET.ravel()})


def logged(seed: int, rows: int = 800) -> pl.DataFrame:
    chance = np.random.default_rng(seed)
    context = chance.integers(CONTEXTS, size=rows)
    drawn = chance.random(rows)[:, None] > LOGGING.cumsum(1)[context]
    action = np.minimum(drawn.sum(1), ACTIONS - 1)
    return pl.DataFrame(
        {
            "in c": context.astype(str),
            "action": action.astype(str),
            "reward": (chance.random(rows) < REWARD[context, action]).astype(float),
            "propensity": LOGGING[context, action],
            "target": TARGET[context, action],
        }
    )


def by_name(found: OffPolicy) -> dict[str, Estimate]:
    return {each.name: each for each in found.estimates}


def test_estimates_are_their_definitions() -> None:
    log = logged(0).with_columns(expected=pl.col("reward") * 0 + 0.2, predicted=pl.lit(0.3))
    w = (log["target"] / log["propensity"]).to_numpy()
    r = log["reward"].to_numpy()
    found = off_policy(log)
    estimates = by_name(found)
    assert estimates["log"].value == pytest.approx(r.mean())
    assert estimates["ips"].value == pytest.approx((w * r).mean())
    assert estimates["ips"].error == pytest.approx((w * r).std(ddof=1) / len(r) ** 0.5)
    assert estimates["snips"].value == pytest.approx((w * r).sum() / w.sum())
    assert estimates["dm"].value == pytest.approx(0.2)
    assert estimates["dr"].value == pytest.approx((0.2 + w * (r - 0.3)).mean())
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert (found.weight, found.largest) == pytest.approx((w.mean(), w.max()))
    cut = np.minimum(w, 1.5)
    clipped = off_policy(log, clip=1.5)
    assert by_name(clipped)["ips"].value == pytest.approx((cut * r).mean())
    assert clipped.clipped == pytest.approx((w > 1.5).mean())


def test_they_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    """200 logs; the mean over logs within 3.5 of its errors, coverage within three."""
    runs, names = 200, ("ips", "snips", "dr", "dr of a wrong model")
    values = {name: list[float]() for name in names}
    hit = dict.fromkeys(names, 0)
    for seed in range(runs):
        rows = with_rewards(logged(seed), policy(), ["in c"], ["in c"], seed)
        estimates = by_name(off_policy(rows))
        wrong = rows.with_columns(expected=pl.lit(0.9), predicted=pl.lit(0.9))
        estimates[names[3]] = by_name(off_policy(wrong))["dr"]
        for name in names:
            each = estimates[name]
            values[name].append(each.value)
            hit[name] += each.low <= TRUTH <= each.high
    for name in names:
        error = np.std(values[name]) / runs**0.5
        assert np.mean(values[name]) == pytest.approx(TRUTH, abs=3.5 * error), name
        assert hit[name] / runs == pytest.approx(0.95, abs=0.046), name
    assert np.std(values["dr"]) < np.std(values["ips"])  # what the model is for
    on_log = np.mean([off_policy(logged(seed, 4000)).estimates[0].value for seed in range(9)])
    assert abs(on_log - TRUTH) > 0.015  # the log itself is of another policy


def test_a_bootstrap_agrees_with_the_formula() -> None:
    rows = logged(1, 3000)
    one, other = by_name(off_policy(rows)), by_name(off_policy(rows, method="bootstrap"))
    for name in ("ips", "snips"):
        width = one[name].high - one[name].low
        assert other[name].low == pytest.approx(one[name].low, abs=0.06 * width)
        assert other[name].high == pytest.approx(one[name].high, abs=0.06 * width)


def test_rows_of_a_unit_go_together() -> None:
    """Each row four times is no more evidence than once."""
    once = logged(2, 500).with_row_index("unit")
    often = pl.concat([once] * 4)
    single, several = by_name(off_policy(once)), by_name(off_policy(often))
    assert several["ips"].error == pytest.approx(single["ips"].error)
    assert off_policy(often).units == 500


def test_weights_of_a_list_are_products_down_to_each_place() -> None:
    """Lists of two of three items; whether the second is clicked depends on both."""
    chance, lists = np.random.default_rng(0), 40_000
    orders = np.array([[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]])
    logging, target = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6])

    def of(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # conditional on those before
        first = p[orders[:, 0]]
        return first, p[orders[:, 1]] / (1 - first)

    reward = chance.uniform(0.1, 0.9, (6, 2))
    truth = (of(target)[0] * of(target)[1])[:, None] * reward
    picked = chance.choice(6, lists, p=of(logging)[0] * of(logging)[1])
    parts = []
    for rank in range(2):
        parts.append(
            pl.DataFrame(
                {
                    "list": np.arange(lists), "rank": np.full(lists, rank + 1),
                    "reward": (chance.random(lists) < reward[picked, rank]).astype(float),
                    "propensity": of(logging)[rank][picked], "target": of(target)[rank][picked],
                }
            )
        )  # fmt: skip
    rows = pl.concat(parts).sample(fraction=1, shuffle=True, seed=0)
    found = off_policy(rows)
    ips = by_name(found)["ips"]
    assert ips.value == pytest.approx(truth.sum() / 2, abs=3.5 * ips.error)
    assert found.weight == pytest.approx(1, abs=3.5 * found.weight_error)
    ratios = [part["target"].to_numpy() / part["propensity"].to_numpy() for part in parts]
    weighted = ratios[0] * parts[0]["reward"].to_numpy()
    weighted = weighted + ratios[0] * ratios[1] * parts[1]["reward"].to_numpy()
    assert ips.value == pytest.approx(weighted.mean() / 2)
    alone = by_name(off_policy(rows.drop("list")))["ips"]
    assert abs(alone.value - truth.sum() / 2) > 5 * alone.error


@pytest.mark.parametrize("binary", [True, False])
def test_the_regression_is_that_of_scikit_learn(binary: bool) -> None:
    chance = np.random.default_rng(4)
    design = sparse.csr_array(chance.normal(size=(400, 6)) * (chance.random((400, 6)) < 0.5))
    reward = design @ chance.normal(size=6) + chance.normal(size=400)
    model = LogisticRegression(tol=1e-9, max_iter=1000) if binary else Ridge(tol=1e-10)
    reward = (reward > 0).astype(float) if binary else reward
    model.fit(design.toarray(), reward)
    weights, constant = fitted(design, reward, binary)
    assert weights == pytest.approx(np.ravel(model.coef_), abs=2e-3)
    assert constant == pytest.approx(np.ravel(model.intercept_)[0], abs=2e-3)


def test_what_is_expected_is_the_sum_over_actions() -> None:
    """A row's expectation from the predictions of the rows of its fold, context and actions."""
    rows = logged(5, 600)
    found = with_rewards(rows, policy(), ["in c"], ["in c"], seed=3)
    fold = np.random.default_rng(3).permutation(len(rows)) % 3
    q = found.with_columns(fold=pl.Series(fold)).group_by("fold", "in c", "action").agg(
        pl.col("predicted").mean(), pl.col("predicted").n_unique().alias("n")
    )  # fmt: skip
    assert q["n"].to_list() == [1] * len(q)
    sums = q.join(policy(), ["in c", "action"]).group_by("fold", "in c").agg(
        (pl.col("probability") * pl.col("predicted")).sum().alias("sum"), pl.len()
    )  # fmt: skip
    whole = sums.filter(pl.col("len") == ACTIONS)
    assert len(whole) > 3
    joined = found.with_columns(fold=pl.Series(fold)).join(whole, ["fold", "in c"])
    assert joined["expected"].to_numpy() == pytest.approx(joined["sum"].to_numpy())


def test_no_row_is_predicted_by_a_model_that_saw_it() -> None:
    rows = logged(7, 90)
    before = with_rewards(rows, policy(), ["in c"], ["in c"])
    for row in range(0, 90, 15):
        turned = rows.with_row_index("n").with_columns(
            reward=pl.when(n=row).then(1 - pl.col("reward")).otherwise("reward")
        )
        after = with_rewards(turned.drop("n"), policy(), ["in c"], ["in c"])
        changed = after["predicted"] != before["predicted"]
        assert not changed[row]
        assert changed.sum() > 40


def test_wrong_propensities_are_noticed_and_no_overlap_is_refused() -> None:
    rows = logged(6, 3000)
    assert not off_policy(rows).doubtful
    assert off_policy(rows.with_columns(propensity=pl.col("propensity") ** 0.5)).doubtful
    with pytest.raises(UserError, match="every weight is 0"):
        off_policy(rows.with_columns(target=pl.lit(0.0)))
    with pytest.raises(UserError, match="no rows of this policy"):
        off_policy(rows.clear())
