"""A backtest trains on a rolling origin, and asks each model for the windows after it."""

from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cli.processes import command

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab.backtests import windows_of
from lightning_rec.lab.gates import gate

OVERRIDES = [
    "data=table", "data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false",
    "batches.max_len=10", "logger=none", "trainer=cpu", "model=sasrec", "model.dim=8",
    "optimizer.lr=0.01", "batches.batch_size=8", "trainer.max_epochs=2", "protocol.targets=all",
]  # fmt: skip
HOUR = 3600


@pytest.fixture(scope="module")
def log(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log with times of days instead of seconds."""
    path = tmp_path_factory.mktemp("backtest") / "log.csv"
    start = log_frame["ts"].min()
    log_frame.with_columns(ts=1_600_000_000 + (pl.col("ts") - start) * HOUR).write_csv(path)
    return path


@pytest.fixture(scope="module")
def done(log: Path) -> Path:
    """The folder of a backtest over three windows."""
    folder = log.parent / "back"
    asked = ["every=20d", "windows=3", f"to={folder}", "update=trainer.max_epochs=1"]
    assert cli.run(["backtest", *asked, f"data.path={log}", *OVERRIDES]) == 0
    return folder


def test_figures_are_those_of_the_runs(done: Path) -> None:
    told = read_json(done / "backtest.json")
    figure = "test/ndcg@10"
    for window in told["windows"]:
        number = window["number"]
        for way in ("update", "anew") if number > 1 else ("anew",):
            run = done / f"{way}_{number}"
            assert window["figures"][way] == pytest.approx(read_json(run / "metrics.json")[figure])
            assert window["targets"] == len(pl.read_parquet(run / "test_users.parquet"))
            assert window["seconds"][way] > 0
    first = told["windows"][0]["figures"]
    assert first["never"] == first["update"] == first["anew"]


def test_a_model_that_is_kept_is_asked_as_a_gate_does(done: Path) -> None:
    told = read_json(done / "backtest.json")["windows"]
    for number in (2, 3):
        parts = gate(done / f"anew_{number}", done / "anew_1").parts
        kept = next(part for part in parts if part.name == "new")
        assert told[number - 1]["figures"]["never"] == pytest.approx(kept.before)


def test_ways_and_ages_are_means_over_targets(done: Path) -> None:
    told = read_json(done / "backtest.json")
    later = told["windows"][1:]
    targets = sum(each["targets"] for each in later)

    def mean(way: str) -> float:
        return float(sum(each["targets"] * each["figures"][way] for each in later) / targets)

    pairs = {(each["way"], each["other"]): each for each in told["compared"]}
    assert [*pairs] == [("update", "never"), ("anew", "update")]
    for (way, other), each in pairs.items():
        assert each["targets"] == targets
        assert each["difference"] == pytest.approx(mean(way) - mean(other))
        assert each["low"] <= each["difference"] <= each["high"]
        assert each["users"] <= each["targets"]
    ages = {each["age"]: each for each in told["ages"]}
    assert [*ages] == [1, 2]
    assert ages[2]["figure"] == pytest.approx(later[1]["figures"]["never"])
    assert ages[2]["new"] == pytest.approx(later[1]["figures"]["anew"])
    assert ages[1]["targets"] == targets


def test_models_see_nothing_of_their_window(done: Path, log: Path) -> None:
    rows = pl.read_csv(log)
    for window in read_json(done / "backtest.json")["windows"]:
        run = done / f"anew_{window['number']}"
        until = pl.read_parquet(run / "trained.parquet")["until"].max()
        cuts = {key: datetime.fromisoformat(window[key]).timestamp() for key in window if "o" in key
                and isinstance(window[key], str)}  # fmt: skip
        assert until is not None
        assert until < cuts["val_from"]  # type: ignore[operator]
        events = rows.filter(pl.col("ts") < cuts["val_from"])
        assert pl.read_parquet(run / "trained.parquet")["events"].sum() == len(events)


def test_the_same_command_trains_nothing_again(
    done: Path, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.glob("*/run.json")}
    told = read_json(done / "backtest.json")
    asked = ["every=20d", "windows=3", f"to={done}", "update=trainer.max_epochs=1"]
    assert cli.run(["backtest", *asked, f"data.path={log}", *OVERRIDES]) == 0
    assert {path: path.stat().st_mtime_ns for path in done.glob("*/run.json")} == before
    again: Any = read_json(done / "backtest.json")
    assert {**again, "runs": 0, "finished": 0} == {**told, "runs": 0, "finished": 0}
    assert "How models age" in capsys.readouterr().out


def test_notes_on_a_window_are_told_once(log: Path, tmp_path: Path) -> None:
    """On the terminal; the log of each run has them."""
    asked = ["every=20d", "windows=2", f"to={tmp_path / 'back'}", f"data.path={log}", *OVERRIDES]
    found = command("backtest", *asked, "protocol.targets=last")
    assert found.returncode == 0, found.stderr
    lines = found.stderr.splitlines()
    notes = [line for line in lines if "users have no test target" in line]
    assert len(notes) == len({*notes}) == 2
    assert all(line.startswith("WARNING") for line in notes)
    assert sum("epoch 2 of 2" in line for line in lines) == 3
    for run in ("anew_1", "anew_2", "update_2"):
        assert "users have no test target" in (tmp_path / "back" / run / "train.log").read_text()


def test_models_fitted_at_once_are_never_updated(log: Path, tmp_path: Path) -> None:
    knn = [each for each in OVERRIDES if not each.startswith(("model", "optimizer", "trainer.max"))]
    (tmp_path / "conf/model").mkdir(parents=True)  # one's own, as every command takes them
    (tmp_path / "conf/model/mine.yaml").write_text("defaults: [itemknn]\nneighbours: 3\n")
    own = ["--config-dir", str(tmp_path / "conf"), "model=mine"]
    asked = ["backtest", *own, "every=20d", "windows=2", f"data.path={log}", *knn]
    with pytest.raises(UserError, match=r"fitted at once.* say refresh=\[never,anew\]"):
        cli.run([*asked, "refresh=[update,anew]", f"to={tmp_path / 'all'}"])
    assert not (tmp_path / "all").exists()
    assert cli.run([*asked, f"to={tmp_path / 'two'}"]) == 0
    told = read_json(tmp_path / "two" / "backtest.json")
    assert [*told["windows"][0]["figures"]] == ["never", "anew"]


def test_windows_end_with_the_log_and_follow_each_other() -> None:
    found = windows_of(0, 100 * 86400 - 1, 10 * 86400, 3, 50 * 86400, 5 * 86400)
    assert [each.start for each in found] == [
        "1970-03-12T00:00:00Z", "1970-03-22T00:00:00Z", "1970-04-01T00:00:00Z",
    ]  # fmt: skip
    assert [each.end for each in found[:-1]] == [each.start for each in found[1:]]
    assert found[-1].end == "1970-04-11T00:00:00Z"
    assert found[0].val_from == "1970-03-07T00:00:00Z"
    assert found[0].since == "1970-01-21T00:00:00Z"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "Say how long a window is"),
        (["every=soon"], "every=soon: say a number with a unit"),
        (["every=20d", "windows=0"], "windows=0"),
        (["every=90d"], "longer than the log"),
        (["every=20d", "window=10d"], "window= has to be longer"),
        (["every=20d", "refresh=[often]"], "often is none"),
        (["every=20d", "refresh=[]"], "one or several"),
        (["every=20d", "protocol.test_from=0.5"], "chooses that itself"),
        (["every=20d", "figure=auc"], "has a cut-off"),
        (["every=20d", "protocol=leave_one_out"], "chooses that itself"),
        (["every=20d", "data.time=null"], "needs the time"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    asked: list[str], words: str, log: Path, tmp_path: Path
) -> None:
    overrides = [
        each
        for each in OVERRIDES
        if each.partition("=")[0] not in {a.partition("=")[0] for a in asked}
    ]
    with pytest.raises(UserError, match=words):
        cli.run(["backtest", *asked, f"data.path={log}", *overrides, f"to={tmp_path / 'none'}"])
    assert not (tmp_path / "none").exists()
