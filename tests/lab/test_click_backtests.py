"""A backtest of clicks: figures of windows by scikit-learn, intervals over users by a bootstrap of another kind."""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec import cli
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab.examples import Values
from lightning_rec.lab.gates import gate
from lightning_rec.lab.paired import of_values
from lightning_rec.lab.periods import alone, mean_over, of_periods

OVERRIDES = [
    "data=click_table", "model=deepfm", "model.dim=4", "model.mlp=[8]", "data.fields.label=clicked",
    "data.fields.categorical=[uid,sku,device]", "data.fields.group=uid", "data.fields.time=ts",
    "logger=none", "trainer=cpu", "batches.batch_size=64", "optimizer.lr=0.02", "trainer.max_epochs=2",
]  # fmt: skip
ASKED = ["every=1h", "windows=3", "update=trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def log(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("click_backtest") / "log.csv"
    click_frame.write_csv(path)
    return path


def back(log: Path, *asked: str) -> Any:
    folder = log.parent / "back"
    line = ["backtest", *ASKED, *asked, f"to={folder}", f"data.path={log}", *OVERRIDES]
    assert cli.run(line) == 0
    return read_json(folder / "backtest.json")


@pytest.fixture(scope="module")
def told(log: Path) -> Any:
    return back(log)


def rows_of(log: Path, way: str, number: int) -> pl.DataFrame:
    run = log.parent / "back" / f"{way}_{number}"
    return pl.read_parquet(run / "test_rows.parquet")


def test_figures_of_windows_are_those_of_scikit_learn(told: Any, log: Path) -> None:
    table = pl.read_csv(log)
    for window in told["windows"]:
        cuts = [datetime.fromisoformat(window[key]).timestamp() for key in ("start", "end")]
        inside = table.filter(pl.col("ts") >= cuts[0], pl.col("ts") < cuts[1])
        assert window["targets"] == len(inside) > 20
        for way in ("update", "anew") if window["number"] > 1 else ("anew",):
            rows = rows_of(log, way, window["number"])
            assert rows["label"].to_list() == inside["clicked"].to_list()
            expected = roc_auc_score(rows["label"], rows["probability"])
            assert window["figures"][way] == pytest.approx(expected)
            low, high = window["intervals"][way]
            assert low < expected < high
    for number in (2, 3):
        parts = gate(log.parent / f"back/anew_{number}", log.parent / "back/anew_1").parts
        kept = next(part for part in parts if part.name == "new")
        assert told["windows"][number - 1]["figures"]["never"] == pytest.approx(kept.before)
    first = told["windows"][0]["figures"]
    assert first["never"] == first["update"] == first["anew"]


def test_ways_are_means_of_windows_by_their_rows(told: Any) -> None:
    later = told["windows"][1:]
    rows = [each["targets"] for each in later]
    for each in told["compared"]:
        means = [
            np.average([window["figures"][way] for window in later], weights=rows)
            for way in (each["way"], each["other"])
        ]
        assert [each["figure"], each["beside"]] == pytest.approx(means)
        assert each["difference"] == pytest.approx(means[0] - means[1])
        assert each["low"] <= each["difference"] <= each["high"]
    assert [(each["way"], each["other"]) for each in told["compared"]] == [("update", "never"), ("anew", "update")]  # fmt: skip
    ages = {each["age"]: each for each in told["ages"]}
    assert ages[2]["figure"] == pytest.approx(later[1]["figures"]["never"])
    assert ages[2]["new"] == pytest.approx(later[1]["figures"]["anew"])
    assert told["units"] == "groups"


def test_another_figure_trains_nothing_again(told: Any, log: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in log.parent.glob("back/*/run.json")}
    found = back(log, "figure=logloss")
    assert {path: path.stat().st_mtime_ns for path in log.parent.glob("back/*/run.json")} == before
    for number in (2, 3):
        rows = rows_of(log, "update", number)
        expected = log_loss(rows["label"], rows["probability"])
        assert found["windows"][number - 1]["figures"]["update"] == pytest.approx(
            expected, abs=1e-6
        )
    back(log)


def test_models_see_nothing_of_their_window(told: Any, log: Path) -> None:
    table = pl.read_csv(log)
    for window in told["windows"]:
        until = datetime.fromisoformat(window["val_from"]).timestamp()
        learnt = pl.read_parquet(log.parent / f"back/anew_{window['number']}/trained.parquet")
        train = learnt.row(by_predicate=pl.col("part") == "train", named=True)
        assert train["until"] < until
        assert train["rows"] == len(table.filter(pl.col("ts") < until))


def drawn(
    generator: np.random.Generator, users: int, rows: int, skill: float
) -> tuple[Values, Values]:
    """Users with a taste of their own, and two scores of their rows, the first the better."""
    user = generator.integers(users, size=rows)
    taste = generator.normal(0, 1, users)[user]
    label = generator.random(rows) < 1 / (1 + np.exp(-taste))
    noise = generator.normal(0, 1, users)[user]
    scores = [taste * part + noise + generator.normal(0, 0.5, rows) for part in (skill, 0.5)]
    key = pl.Series(user)
    unit = np.unique(user, return_inverse=True)[1].astype(np.int64)
    one, other = (Values("test_rows", key, unit, score, label) for score in scores)
    return one, other


def test_the_interval_over_windows_is_that_of_a_bootstrap_over_users() -> None:
    generator = np.random.default_rng(3)
    pairs = [drawn(generator, 80, rows, 1.0) for rows in (900, 400)]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    found = of_periods(ours, theirs)
    assert found is not None
    assert found.units == 80

    def difference(keep: Any) -> float:
        """``keep``: how often each user is drawn."""
        of_windows = []
        for one, other in pairs:
            weight = keep[one.key.to_numpy()]
            areas = [roc_auc_score(v.label, v.value, sample_weight=weight) for v in (one, other)]
            of_windows.append(areas[0] - areas[1])
        return float(np.average(of_windows, weights=[900, 400]))

    assert found.difference == pytest.approx(difference(np.ones(80)))
    draws = [np.bincount(generator.integers(80, size=80), minlength=80) for _ in range(400)]
    spread = float(np.std([difference(draw.astype(float)) for draw in draws]))
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(spread, rel=0.15)
    single, same = of_periods(ours[:1], theirs[:1]), of_values(ours[:1], theirs[:1])
    assert single is not None
    assert same is not None
    assert (single.low, single.high) == pytest.approx((same.low, same.high))
    means = [mean_over(of) for of in (ours, theirs)]
    assert means[0] - means[1] == pytest.approx(found.difference)  # type: ignore[operator]


def test_one_class_in_a_window_has_no_area() -> None:
    generator = np.random.default_rng(4)
    one, other = drawn(generator, 30, 200, 1.0)
    assert one.label is not None
    empty = one._replace(label=np.zeros(200, dtype=bool))
    assert alone(empty) is None
    assert alone(one) is not None
    both = of_periods([one, empty], [other, empty])
    just = of_periods([one], [other])
    assert both == just
    assert of_periods([empty], [empty]) is None
    assert mean_over([empty]) is None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["figure=ndcg@10"], "it is one of auc, logloss, gauc"),
        (["data.fields.time=null"], "needs times"),
        (["protocol=random_rows"], "chooses that itself"),
        (["every=9000d"], "longer than the log"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    asked: list[str], words: str, log: Path, tmp_path: Path
) -> None:
    keys = {each.partition("=")[0] for each in asked}
    kept = [each for each in (*ASKED, *OVERRIDES) if each.partition("=")[0] not in keys]
    with pytest.raises(UserError, match=words):
        cli.run(["backtest", *kept, *asked, f"data.path={log}", f"to={tmp_path / 'none'}"])
    assert not (tmp_path / "none").exists()
