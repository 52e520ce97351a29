"""``lightning-rec monitor`` over tables of clicks: columns, scores, calibration."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from cli.test_figures import RUNS
from serving.conftest import trained

from lightning_rec import cli
from lightning_rec.bundle import open_model
from lightning_rec.errors import UserError
from lightning_rec.monitoring.rows import calibration, times


@pytest.fixture(scope="module")
def bundle(deepfm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("watched") / "clicks"
    assert cli.run(["export", f"run={deepfm}", f"to={target}"]) == 0
    assert (target / "monitor.parquet").is_file()
    return target


def found(bundle: Path, rows: pl.DataFrame, folder: Path, *words: str) -> dict[str, Any]:
    path, told = folder / "rows.parquet", folder / "found.json"
    rows.write_parquet(path)
    status = cli.run(["monitor", f"log={path}", f"model={bundle}", f"json={told}", *words])
    lines = {line["name"]: line for line in json.loads(told.read_text())["lines"]}
    assert status == (3 if any(each["state"] in ("moved", "far") for each in lines.values()) else 0)
    return lines


def test_columns_that_are_empty_renamed_or_stuck_are_named(
    bundle: Path, click_frame: pl.DataFrame, tmp_path: Path
) -> None:
    rows = open_model(bundle).score(click_frame.tail(300))
    rows = rows.with_columns(clicked=(pl.col("score") > 0.5).cast(pl.Int8))
    good = {"label": "clicked"}
    fine = found(bundle, rows.drop("clicked"), tmp_path)
    assert {"column device", "column price", "column sku", "scores"} <= fine.keys()
    assert all(line["state"] == "ok" for line in fine.values()), fine
    for change, name, most in [
        (pl.lit(None, pl.Float64).alias("price"), "column price", "(empty): "),
        (pl.lit(None, pl.String).alias("device"), "column device", "(empty): "),
        (("sku-" + pl.col("sku")).alias("sku"), "column sku", "unknown: 0.0% → 100.0%"),
        (pl.lit(0.25).alias("score"), "scores", ""),
    ]:
        lines = found(bundle, rows.drop(good["label"]).with_columns(change), tmp_path)
        moved = [name for name, line in lines.items() if line["state"] in ("moved", "far")]
        assert moved == [name]
        assert lines[name]["detail"].startswith(most)
    assert found(bundle, rows.drop("clicked", "score"), tmp_path)["scores"]["ks"] == pytest.approx(
        fine["scores"]["ks"]  # they are made by the model
    )


def test_of_several_goals_what_predict_wrote_is_read(
    click_csv: Path, click_frame: pl.DataFrame, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    about = [each.replace("$clicks", str(click_csv)) for each in RUNS["mmoe"]]
    run = trained(tmp_path / "run", *about)
    click_frame.tail(300).drop("clicked", "worth").write_csv(tmp_path / "rows.csv")
    scored = tmp_path / "scored.csv"
    assert cli.run(["predict", f"model={run}", "--input", str(tmp_path / "rows.csv"), "--output", str(scored)]) == 0  # fmt: skip
    assert "score_click" in scored.read_text()
    assert cli.run(["monitor", f"log={scored}", f"model={run}", f"reference={scored}"]) == 0
    assert "several goals: their scores and calibration are not watched" in capfd.readouterr().out


def test_calibration_beside_its_definition() -> None:
    chance = np.random.default_rng(5)
    score = chance.beta(2, 6, 4000)
    label = (chance.random(4000) < score).astype(float)
    unit = np.arange(4000)
    fine = calibration("all", unit, label, score, 0.95)
    assert fine.p is not None
    assert fine.p > 0.01
    wrong = calibration("all", unit, label, np.minimum(1, 1.5 * score), 0.95)
    order = np.argsort(1.5 * score, kind="stable").reshape(10, -1)
    raw = np.mean([abs(label[b].mean() - np.minimum(1, 1.5 * score[b]).mean()) for b in order])
    assert wrong.value == pytest.approx(raw, abs=0.01)
    assert wrong.low is not None
    assert wrong.high is not None
    assert wrong.low < raw < wrong.high
    assert wrong.p is not None
    assert wrong.p < 1e-6
    for given in (label, np.sort(label)):  # of equal scores the order of the rows says nothing
        even = calibration("all", unit, given, np.full(4000, label.mean()), 0.95)
        assert even.value < 0.02
        assert even.p == pytest.approx(1)
    told = 0
    for seed in range(200):  # p is right where probabilities are, and users are alike within
        chance = np.random.default_rng(seed)
        score = chance.beta(2, 6, 400)
        label = (chance.random(400) < score).astype(float)
        told += (calibration("all", np.arange(400), label, score, 0.95).p or 0) < 0.05
    assert 1 <= told <= 21


def test_labels_that_are_not_predicted_are_found(
    bundle: Path, click_frame: pl.DataFrame, tmp_path: Path
) -> None:
    rows = open_model(bundle).score(click_frame)
    chance = np.random.default_rng(2)
    right = pl.Series("clicked", (chance.random(600) < rows["score"].to_numpy()).astype(int))
    assert found(bundle, rows.with_columns(right), tmp_path)["calibration"]["state"] == "ok"
    none = found(bundle, rows.with_columns(clicked=pl.lit(0)), tmp_path)["calibration"]
    assert none["state"] == "moved"
    assert none["detail"].endswith("observed 0.0%")


def test_a_csv_as_predict_writes_it_and_labels_as_training_takes_them(
    bundle: Path, click_frame: pl.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = open_model(bundle).score(click_frame)
    chance = np.random.default_rng(2)
    right = pl.Series("clicked", (chance.random(600) < rows["score"].to_numpy()).astype(int))
    rows = rows.with_columns(right)
    plain = found(bundle, rows, tmp_path)["calibration"]
    words = pl.col("clicked").replace_strict({0: "no", 1: "Yes"}, return_dtype=pl.String)
    assert found(bundle, rows.with_columns(words), tmp_path)["calibration"] == plain
    scored, told = tmp_path / "scored.csv", tmp_path / "told.json"
    rows.drop("tags", strict=False).write_csv(scored)
    words_of = ["monitor", f"log={scored}", f"model={bundle}", f"json={told}"]
    cli.run(words_of)
    lines = {line["name"]: line for line in json.loads(told.read_text())["lines"]}
    assert lines["calibration"]["value"] == pytest.approx(plain["value"])
    rows.select("clicked", score=pl.lit("high")).write_csv(scored)
    with pytest.raises(UserError, match="column 'score' holds 'high', which is no number"):
        cli.run(words_of)


def test_times_are_numbers_of_any_unit_or_dates() -> None:
    for unit in (1, 1000, 1_000_000):
        moments = pl.Series("t", [1_790_000_000 * unit, 1_790_003_600 * unit])
        assert times(moments).dt.hour().to_list() == [14, 15]
        assert times(moments.cast(pl.String)).dt.hour().to_list() == [14, 15]
    zones = ["2026-11-02T13:00:00.250+02:00", "", "2026-11-02T13:00:00Z", None]
    assert times(pl.Series("t", zones)).dt.hour().to_list() == [11, None, 13, None]
    assert times(pl.Series([0, 3600])).dt.hour().to_list() == [0, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pl.lit("hello").alias("ts"), "'ts' holds 'hello' in 300 of 300 rows, which is no time"),
        (
            pl.when(pl.int_range(pl.len()) % 2 == 1).then(pl.lit("?")).otherwise("ts").alias("ts"),
            r"'ts' holds '\?' in 150 of 300 rows",
        ),
        (pl.lit("maybe").alias("clicked"), "'clicked' holds 'maybe' .* which is no label"),
        (None, "holds no rows"),
    ],
)
def test_what_cannot_be_read_is_told_and_not_passed_over(
    timed: Path, click_frame: pl.DataFrame, tmp_path: Path, change: pl.Expr | None, words: str
) -> None:
    rows = click_frame.tail(300).with_columns(pl.col("ts").cast(pl.String))
    rows = rows.clear() if change is None else rows.with_columns(change)
    with pytest.raises(UserError, match=words):
        found(timed, rows, tmp_path)


def test_rows_without_a_group_stand_for_themselves(
    timed: Path, click_frame: pl.DataFrame, tmp_path: Path
) -> None:
    rows = click_frame.tail(300).with_columns(uid=pl.lit(None, pl.String))
    lines = found(timed, rows, tmp_path)
    assert lines["column sku"]["units"] == 300
    assert lines["calibration"]["units"] == 300


@pytest.fixture(scope="module")
def timed(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one goal of ``goals``, whose times are in a form that has to be said."""
    folder = tmp_path_factory.mktemp("timed")
    form = "%d|%m|%Y %H:%M"
    dated = click_frame.with_columns(ts=pl.from_epoch("ts").dt.to_string(form))
    dated.write_csv(folder / "clicks.csv")
    fields = "{categorical:[uid,sku,device],numeric:[price],label:null,group:uid,time:ts}"
    return trained(
        folder / "run", "task=click", "data=click_table", f"data.path={folder / 'clicks.csv'}",
        f"data.fields={fields}", "+data.fields.goals={clicked: {column: clicked}}",
        f'data.time_format="{form}"', "model=deepfm", "model.dim=4",
    )  # fmt: skip


def test_hours_are_kept_whatever_form_times_have(timed: Path) -> None:
    assert pl.read_parquet(timed / "monitor.parquet")["name"].is_in(["hours"]).any()
