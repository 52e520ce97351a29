"""``lightning-rec offpolicy``: tables, the log of a server that explores, and every fault."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

from lightning_rec import cli
from lightning_rec.errors import UserError

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def bandit(tmp_path: Path) -> Path:
    """Two places, three items, drawn with equal chance; and a policy of known reward."""
    chance, rows = np.random.default_rng(2), 4000
    place, item = chance.integers(1, 3, rows), chance.integers(0, 3, rows)
    click = chance.random(rows) < 0.1 * (1 + item) / place
    pl.DataFrame(
        {"place": place, "sku": item, "clicked": click.astype(int), "chance": np.full(rows, 1 / 3),
         "age": chance.normal(size=rows)}
    ).write_csv(tmp_path / "log.csv")  # fmt: skip
    pl.DataFrame(
        {"place": [1, 1, 2, 2], "sku": [2, 1, 2, 0], "probability": [0.8, 0.2, 0.5, 0.5]}
    ).write_csv(tmp_path / "policy.csv")
    return tmp_path


NAMES = ["action=sku", "reward=clicked", "propensity=chance"]
TRUTH = (0.8 * 0.3 + 0.2 * 0.2 + 0.5 * 0.15 + 0.5 * 0.05) / 2


def test_all_estimators_find_the_reward_of_a_policy(bandit: Path, capsys: Captured) -> None:
    said = [f"log={bandit / 'log.csv'}", *NAMES, f"policy={bandit / 'policy.csv'}"]
    to = bandit / "found.json"
    assert cli.run(["offpolicy", *said, "features=[place,age]", f"to={to}"]) == 0
    found = json.loads(to.read_text())
    for each in found["estimates"][1:]:
        assert each["value"] == pytest.approx(TRUTH, abs=3.5 * max(each["error"], 0.005)), each
        half = norm.ppf(0.975) * each["error"]
        assert each["high"] - each["value"] == pytest.approx(half, rel=0.01)
    assert [each["name"] for each in found["estimates"]] == ["log", "ips", "snips", "dm", "dr"]
    assert "4,000 rows are worth" in capsys.readouterr().out


def test_a_column_of_the_log_will_do_and_weights_can_be_cut(bandit: Path, capsys: Captured) -> None:
    log = pl.read_csv(bandit / "log.csv").with_columns(new=(pl.col("sku") == 2) * 1.0)
    log.write_parquet(bandit / "log.parquet")
    said = [f"log={bandit / 'log.parquet'}", *NAMES, "target=new", "clip=2", "method=bootstrap"]
    assert cli.run(["offpolicy", *said]) == 0
    told = capsys.readouterr().out
    assert "doubly robust" not in told
    assert "of the weights were cut to 2" in told


def test_columns_that_are_called_so_by_chance_are_passed_over(bandit: Path) -> None:
    log = pl.read_csv(bandit / "log.csv").rename({"age": "unit"})
    log = log.with_columns(
        list=pl.lit(1), target=pl.lit(2), expected=pl.lit(9), predicted=pl.lit(9)
    )
    log.write_csv(bandit / "odd.csv")
    found = []
    for name in ("log", "odd"):
        said = [f"log={bandit / name}.csv", *NAMES, f"policy={bandit / 'policy.csv'}"]
        assert cli.run(["offpolicy", *said, f"to={bandit / name}.json"]) == 0
        found.append(json.loads((bandit / f"{name}.json").read_text()))
    assert found[0] == found[1]


def test_contexts_that_the_policy_does_not_know_are_told(bandit: Path, capsys: Captured) -> None:
    pl.DataFrame({"place": [1, 7], "sku": [2, 0]}).write_csv(bandit / "one.csv")
    said = [f"log={bandit / 'log.csv'}", *NAMES, f"policy={bandit / 'one.csv'}"]
    assert cli.run(["offpolicy", *said]) == 0
    left = (pl.read_csv(bandit / "log.csv")["place"] != 1).sum()
    assert f"{left:,} rows were left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said", "told"),
    [
        ({}, "policy=policy.csv propensity=chanc", "no column 'chanc' for propensity. Did you mean"),
        ({"chance": 0.0}, "policy=policy.csv", "line 2: the propensity is 0; it is above 0 to 1: what"),
        ({"chance": 1.5}, "policy=policy.csv", "line 2: the propensity is 1.5; it is above 0 to 1"),
        ({"clicked": None}, "policy=policy.csv", "line 2: the reward in column 'clicked' is empty"),
        ({}, "target=age", "the target is -"),
        ({}, "", "either policy=FILE or target=COLUMN"),
        ({}, "policy=policy.csv target=age", "either policy=FILE or target=COLUMN"),
        ({}, "policy=policy.csv list=place", "list= and rank= go together"),
        ({}, "policy=policy.csv list=sku rank=place", r"log\.csv, line \d+: list . has rank [12] already"),
        ({}, "policy=policy.csv clip=0", "clip=0: it has to be above 0"),
        ({}, "policy=short.csv", "the probabilities of place=2 sum to 0.5, not to 1"),
        ({}, "policy=twice.csv", "an action twice in one context"),
        ({}, "policy=nothing.csv", "no column 'sku', the action of the log"),
        ({}, "policy=elsewhere.csv", "knows no context of the log"),
        ({"place": "empty"}, "policy=policy.csv", "no rows|no data rows"),
    ],
)  # fmt: skip
def test_faults_are_told(
    bandit: Path, change: dict[str, Any], said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bandit)
    log = pl.read_csv("log.csv")
    for column, value in change.items():
        log = log.clear() if value == "empty" else log.with_columns(pl.lit(value).alias(column))
    log.write_csv("log.csv")
    policy = pl.read_csv("policy.csv")
    policy[:3].write_csv("short.csv")
    pl.concat([policy, policy]).write_csv("twice.csv")
    policy.drop("sku").write_csv("nothing.csv")
    policy.with_columns(place=pl.col("place") + 7).write_csv("elsewhere.csv")
    words = [word for word in NAMES if word.partition("=")[0] not in said]
    with pytest.raises(UserError, match=told):
        cli.run(["offpolicy", "log=log.csv", *words, *said.split()])
