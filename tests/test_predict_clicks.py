"""A run of clicks scores raw rows without its data, as its test did."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.errors import UserError
from lightning_rec.models.clicks.two_tower import TwoTower
from lightning_rec.predict.clicks import ClickPredictor

Train = Callable[..., Path]
GOALS = ["data.fields.label=null", "monitor=val/click/auc"]
GOALS += ["+data.fields.goals={click: {column: clicked}, dear: {column: both}}"]
HISTORY = ["data.fields.item=sku", "data.fields.history=past"]
MODELS = {
    "deepfm": ["model.mlp=[8]", "task.calibrate=temperature"],
    "lr": [],
    "naive_bayes": ["baseline=null"],
    "lightgbm": ["baseline=null"],
    "esmm": [*GOALS, "model.mlp=[8]", "task.calibrate=temperature"],
    "two_tower": ["data.fields.item=sku", "model.item_fields=[sku]"],
    "din": [*HISTORY, "model.mlp=[8]", "model.attention=[4]"],
}


@pytest.fixture(scope="module")
def frame(click_frame: pl.DataFrame) -> pl.DataFrame:
    """The clicks with a history in each row, and a goal that comes after the click."""
    past = [" ".join(f"i{(row + of) % 17}" for of in range(row % 5)) for row in range(600)]
    both = (click_frame["clicked"] == 1) & (click_frame["worth"] >= 1)
    return click_frame.with_columns(pl.Series("past", past), both=both.cast(pl.Int64))


@pytest.fixture(scope="module")
def train(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """``train(model, …)``: the folder of a completed run, whose data is gone."""

    def make(model: str, *overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("clicks")
        path = folder / "clicks.csv"
        frame.write_csv(path)
        arguments = [
            f"model={model}", "data=click_table", f"data.path={path}", "data.fields.label=clicked",
            "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]",
            "data.fields.numeric=[price]",
            "data.fields.separator={past: ' '}" if "data.fields.history=past" in overrides else "seed=1",
            *(() if "protocol=temporal_rows" in overrides else ("protocol.val=0.2", "protocol.test=0.2")),
            "batches.eval_batch_size=50", "trainer=cpu", "trainer.max_epochs=2", "logger=none",
        ]  # fmt: skip
        assert cli.run(["train", *arguments, *overrides, f"run_dir={folder / 'run'}"]) == 0
        path.unlink()
        return folder / "run"

    return make


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_the_probabilities_of_the_test(
    model: str, train: Train, frame: pl.DataFrame
) -> None:
    run = train(model, *MODELS[model])
    told = pl.read_parquet(run / "test_rows.parquet")
    predictor = load_run(run)
    assert isinstance(predictor, ClickPredictor)
    scored = predictor.score(frame[told["row"].to_list()])
    goals = {"": ""} if model != "esmm" else {"_click": "_click", "_dear": "_dear"}
    for goal in goals:
        np.testing.assert_allclose(scored[f"score{goal}"], told[f"probability{goal}"], atol=1e-6)
    assert scored.columns[: frame.width] == frame.columns
    assert scored["uid"].to_list() == frame["uid"].gather(told["row"].to_list()).to_list()


def test_rows_come_in_any_form(train: Train, frame: pl.DataFrame) -> None:
    predictor = load_run(train("din", *HISTORY, "model.mlp=[8]", "model.attention=[4]"))
    told = predictor.score(frame)["score"]
    for nothing in (None, "", "unknown"):  # of a whole batch
        one = frame[:1].with_columns(past=pl.lit(nothing, pl.String))
        none = frame[:9].with_columns(past=pl.when(pl.col("past") == "").then("past"))
        alone, among = (predictor.score(rows)["score"][0] for rows in (one, none))
        assert frame["past"][0] == ""
        assert alone == pytest.approx(among)
    lists = frame.with_columns(pl.col("past").str.split(" "), pl.col("tags").str.split("|"))
    assert predictor.score(lists)["score"].to_list() == told.to_list()
    pandas = pytest.importorskip("pandas")
    for other in (frame.to_dict(as_series=False), pandas.DataFrame(frame.to_dict(as_series=False))):
        np.testing.assert_allclose(predictor.score(other)["score"], told, atol=1e-6)
    assert predictor.score(frame.clear())["score"].to_list() == []
    strange = {"uid": [None, 7], "sku": ["new", "i1"], "device": [" ", "x"], "tags": ["?|!", None]}
    scored = predictor.score(strange | {"price": ["nan", None], "past": ["new", None]})
    assert scored["score"].is_finite().all()


def test_what_cannot_be_scored_is_told(train: Train, frame: pl.DataFrame) -> None:
    predictor = load_run(train("din", *HISTORY, "model.mlp=[8]", "model.attention=[4]"))
    rows = frame.to_dict(as_series=False)
    for asked, sentence in (
        (frame.drop("price"), "has no column 'price'"),
        (rows | {"price": ["dear"] * 600}, "Row 0: 'dear' in column 'price' is no number"),
        *(
            (rows | {"price": [1.0, odd] + [1.0] * 598}, "Row 1: .* 'price' is (no|too large)")
            for odd in ("inf", float("-inf"), 1e308, "1e40", 10**40)
        ),
        (rows | {"score": [1.0] * 600}, "a column 'score', which is what the answer is called"),
        (rows | {"price": [[1.0]] * 600}, "'price' is declared as numeric and holds List"),
        (rows | {"price": [b"1"] * 600}, "'price' is declared as numeric and holds Binary"),
        (rows | {"price": [object()] * 600}, "'price' is declared as numeric and holds Object"),
        (rows | {"sku": [["i1"]] * 600}, "'sku' holds List"),
        (rows | {"sku": [object()] * 600}, "'sku' holds Object"),
        (rows | {"tags": [[["a"]]] * 600}, "'tags' holds List"),
        (frame.with_columns(tags=pl.struct("tags")), "'tags' holds Struct"),
        (rows | {"past": [{"i1"}] * 600}, "'past' holds Object"),
        (rows | {"past": [[["i1"]]] * 600}, "'past' holds List"),
        (rows | {"price": [1.0]}, "differ in length"),
        ([{"uid": "u1"}], "and no list"),
    ):
        with pytest.raises(UserError, match=sentence):
            predictor.score(asked)
    with pytest.raises(UserError, match="Row 0: its numbers are so large"):  # squares overflow
        load_run(train("deepfm", *MODELS["deepfm"])).score(rows | {"price": ["9e37"] * 600})
    with pytest.raises(
        UserError, match=r"DIN ranks candidates: say recommend\(rows, items=FRAME\)"
    ):
        predictor.recommend(["u1"])


def test_histories_of_a_log_are_given_in_a_column(train: Train, frame: pl.DataFrame) -> None:
    past = ["data.fields.item=sku", "data.fields.past=rows", "data.fields.group=uid"]
    past += ["data.fields.time=ts", "protocol=temporal_rows", "model.mlp=[8]"]
    run = train("din", *past, "model.attention=[4]")
    told = pl.read_parquet(run / "test_rows.parquet")
    before = frame.with_row_index("row")
    histories = [
        before.filter((pl.col("uid") == uid) & (pl.col("ts") < ts))["sku"].to_list()
        for uid, ts in frame.select("uid", "ts").rows()
    ]
    rows = frame.with_columns(pl.Series("history", histories))[told["row"].to_list()]
    scored = load_run(run).score(rows)
    np.testing.assert_allclose(scored["score"], told["probability"], atol=1e-6)
    with pytest.raises(UserError, match="has no column 'history'"):
        load_run(run).score(frame)


def test_two_towers_give_the_vectors_that_their_scores_are_made_of(
    train: Train, frame: pl.DataFrame
) -> None:
    predictor = load_run(train("two_tower", *MODELS["two_tower"], "model.dot=true"))
    assert isinstance(predictor, ClickPredictor)
    users = predictor.user_vectors(frame.drop("sku"))  # what the other tower reads may be absent
    items = predictor.item_vectors(frame.select("sku"))
    assert items.columns == ["sku", "vector"]
    assert isinstance(predictor.model, TwoTower)
    products = (users["vector"].to_numpy() * items["vector"].to_numpy()).sum(axis=1)
    logits = products + predictor.model.bias.item()
    np.testing.assert_allclose(predictor.score(frame)["score"], 1 / (1 + np.exp(-logits)), 1e-5)
    assert predictor.item_vectors({"sku": []}).is_empty()
    with pytest.raises(UserError, match="has no column 'uid'"):
        predictor.user_vectors(frame.select("sku"))
    with pytest.raises(UserError, match=r"LR cannot answer item_vectors\(\).*two_tower"):
        load_run(train("lr")).item_vectors(frame)


def test_numbers_in_text_have_the_decimal_sign_of_the_run(
    train: Train, frame: pl.DataFrame
) -> None:
    predictor = load_run(train("lr", "data.decimal=comma"))
    rows = frame.head(20).with_columns(pl.col("price").fill_null(2).round(1))
    commas = rows.with_columns(pl.col("price").cast(pl.String).str.replace(".", ",", literal=True))
    assert predictor.score(commas)["score"].to_list() == predictor.score(rows)["score"].to_list()
    assert predictor.score(commas)["price"].equals(commas["price"])
    with pytest.raises(UserError, match=r"Row 0: '1.234 \(thousands\? data.decimal=comma\)' in"):
        predictor.score(rows.with_columns(price=pl.lit("1.234")))
