"""``lightning-rec abtest``: tables, power, assignment, and every fault in a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.trials import Assignment

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three rows of each of 400 users."""
    chance = np.random.default_rng(1)
    users = np.repeat(np.arange(400), 3)
    rows = pl.DataFrame(
        {
            "uid": users,
            "arm": np.where(users % 2, "new", "old"),
            "clicks": chance.poisson(2 + users % 2, len(users)),
            "seen": 5 + chance.poisson(5, len(users)),
        }
    )
    rows.sample(fraction=1, shuffle=True, seed=3).write_csv(tmp_path / "log.csv")
    return tmp_path / "log.csv"


def test_rows_of_a_user_are_summed_first(table: Path, tmp_path: Path, capsys: Captured) -> None:
    said = [f"log={table}", "user=uid", "variant=arm", "value=clicks", "control=old"]
    assert cli.run(["abtest", *said, f"to={tmp_path / 'found.json'}", "looks=5"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    users = pl.read_csv(table).group_by("uid").agg(pl.first("arm"), pl.sum("clicks"))
    new, old = (users.filter(arm=name)["clicks"].to_numpy() for name in ("new", "old"))
    expected = stats.ttest_ind(new, old, equal_var=False)
    assert [arm["users"] for arm in found["arms"]] == [200, 200]
    assert found["effects"][0]["p"] == pytest.approx(expected.pvalue)
    assert found["effects"][0]["variant"] == "new"
    told = capsys.readouterr().out
    assert "new differs from old, however often this log was looked at." in told
    assert "Pocock: stop at look 1, 2, ... if |difference| / error is above 2.413" in told


def test_wrong_shares_are_told_and_end_with_1(table: Path, capsys: Captured) -> None:
    said = [f"log={table}", "user=uid", "variant=arm", "value=clicks"]
    assert cli.run(["abtest", *said, "shares={new: 0.8, old: 0.2}"]) == 1
    assert "No effect of this log can be trusted" in capsys.readouterr().out


def test_power_and_its_inverse(capsys: Captured) -> None:
    assert cli.run(["abtest", "--power", "lift=0.05", "mean=0.2", "sd=0.6"]) == 0
    assert cli.run(["abtest", "--power", "users=113024", "sd=0.6"]) == 0
    told = capsys.readouterr().out
    assert "113,024 users altogether show a difference of 0.01 in 80% of tests" in told
    assert "113,024 users show a difference of 0.01 or more" in told


def test_users_of_a_file_get_their_variants(tmp_path: Path, capsys: Captured) -> None:
    users = pl.DataFrame({"uid": [str(number) for number in range(200)]})
    users.write_parquet(tmp_path / "users.parquet")
    said = [f"assign={tmp_path / 'users.parquet'}", "user=uid", "experiment=spring"]
    said += ["shares={a: 0.4, b: 0.4}", "--output", str(tmp_path / "to.csv")]
    assert cli.run(["abtest", *said]) == 0
    found = pl.read_csv(tmp_path / "to.csv")["variant"].to_list()
    made = Assignment("spring", {"a": 0.4, "b": 0.4})
    assert [each or None for each in found] == [made.of(str(number)) for number in range(200)]
    assert f"a {found.count('a')}, b {found.count('b')}, none" in capsys.readouterr().out


ROWS: dict[str, list[Any]] = {
    "user": ["u1", "u2", "u3", "u4"],
    "variant": ["a", "a", "b", "b"],
    "value": [1, 2, 3, 4],
}


@pytest.mark.parametrize(
    ("change", "said", "told"),
    [
        ({}, "value=clicks", "no column 'clicks' for the value. Did you mean|Its columns are"),
        ({"user": ["u1", "", "u3", "u4"]}, "value=value", "line 3: the user in column 'user' is empty"),
        ({"variant": ["a", "a", "b", ""]}, "value=value", "line 5: the variant in column 'variant' is"),
        ({"value": [1, 2, "x", 4]}, "value=value", "line 4: the value in column 'value' is empty, or no"),
        ({"user": ["u1", "u2", "u2", "u4"]}, "value=value", "'u2' is in more than one variant, one of 1"),
        ({"variant": ["a"] * 4}, "value=value", "one variant, 'a'"),
        ({key: [] for key in ROWS}, "value=value", "no rows|no data rows"),
        ({}, "value=value level=2", "level=2.0: it has to be from 0.5"),
        ({}, "value=value method=t", "it is delta or bootstrap"),
        ({}, "value=value planned=-1", "planned=-1: it has to be above 0"),
        ({}, "value=value looks=99", "looks=99: it is from 1 to 50"),
        ({}, "", "is no request log of 'serve': say value=COLUMN"),
        ({}, "valu=1", "valu= is no key of abtest. Did you mean 'value'"),
        ({}, "--power sd=1", "--power needs sd="),
        ({}, "--power sd=1 lift=.1", "say mean="),
        ({}, "--power sd=1 effect=0", "effect=0"),
        ({}, "assign=x.csv", "assign= needs experiment as well"),
    ],
)  # fmt: skip
def test_faults_are_told(
    change: dict[str, list[Any]], said: str, told: str, tmp_path: Path
) -> None:
    columns = {
        name: pl.Series([str(cell) for cell in cells]) for name, cells in (ROWS | change).items()
    }
    pl.DataFrame(columns).write_csv(tmp_path / "log.csv")
    log = [] if "--power" in said or "assign=" in said else [f"log={tmp_path / 'log.csv'}"]
    with pytest.raises(UserError, match=told):
        cli.run(["abtest", *log, *said.split()])


def test_a_bootstrap_can_be_asked_for(table: Path, capsys: Captured) -> None:
    said = [f"log={table}", "user=uid", "variant=arm", "value=clicks", "per=seen"]
    assert cli.run(["abtest", *said, "method=bootstrap", "covariate=seen"]) == 0
    assert "CUPED left" in capsys.readouterr().out
