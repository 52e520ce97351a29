"""A model of clicks in its moment: context, and the best of candidates, beside rows by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec import Rules, cli, load_run
from lightning_rec.errors import UserError
from lightning_rec.predict.clicks import ClickPredictor

Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def run(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    click_frame.write_csv(folder / "clicks.csv")
    arguments = [
        "model=deepfm", "model.mlp=[8]", "data=click_table", f"data.path={folder / 'clicks.csv'}",
        "data.fields.label=clicked", "data.fields.categorical=[uid,sku,device]", "data.fields.item=sku",
        "data.fields.multi_valued=[tags]", "data.fields.numeric=[price]", "protocol.val=0.2",
        "protocol.test=0.2", "trainer=cpu", "trainer.max_epochs=3", "logger=none", "optimizer.lr=0.05",
    ]  # fmt: skip
    assert cli.run(["train", *arguments, f"run_dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> ClickPredictor:
    found = load_run(run)
    assert isinstance(found, ClickPredictor)
    return found


@pytest.fixture(scope="module")
def items(click_frame: pl.DataFrame) -> pl.DataFrame:
    """Candidates: sku, its features, and a title and a brand that the model does not read."""
    once = click_frame.select("sku", "tags", "price").unique("sku", maintain_order=True).head(12)
    number = pl.int_range(pl.len())
    return once.with_columns(title="T" + number.cast(pl.String), brand=number % 3)


def test_context_is_a_column_of_one_value(model: ClickPredictor, click_frame: pl.DataFrame) -> None:
    rows = click_frame.select("uid", "sku", "tags", "price").head(20)
    device = click_frame["device"].drop_nulls()[0]
    found = model.score(rows, {"device": device})
    wanted = model.score(rows.with_columns(device=pl.lit(device)))
    assert found["score"].to_list() == wanted["score"].to_list()
    others = model.score(rows, {"device": click_frame["device"].drop_nulls().unique().sort()[-1]})
    assert len(set(found["score"]) | set(others["score"])) > len(set(found["score"])) or (
        found["device"][0] == others["device"][0]
    )


def test_candidates_are_ranked_by_their_probability(
    model: ClickPredictor, items: pl.DataFrame, click_frame: pl.DataFrame
) -> None:
    device = click_frame["device"].drop_nulls()[0]
    users = pl.DataFrame({"uid": [click_frame["uid"][0], "somebody new"]})
    found = model.recommend(users, items, k=5, context={"device": device})
    assert found.columns == ["row", "rank", "item", "title", "score"]
    for number, uid in enumerate(users["uid"]):
        rows = [{"uid": uid, "device": device, **each} for each in items.rows(named=True)]
        scores = model.score(pl.DataFrame(rows))["score"].to_numpy()  # one by one, by hand
        best = np.argsort(-scores, kind="stable")[:5]
        own = found.filter(row=number)
        assert own["score"].to_list() == pytest.approx(scores[best].tolist(), abs=1e-6)
        assert own["item"].to_list() == items["sku"].cast(pl.String).gather(best).to_list()
        assert own["title"].to_list() == items["title"].gather(best).to_list()
    ruled = model.recommend(
        users, items, k=4, context={"device": device}, rules=Rules(per="brand:1", where="brand < 2")
    )
    whole = model.recommend(users, items, k=12, context={"device": device})
    brand = dict(zip(items["sku"].cast(pl.String), items["brand"], strict=True))
    for number in range(2):
        seen, wanted = set(), []
        for item in whole.filter(row=number)["item"]:
            if brand[item] < 2 and brand[item] not in seen:
                seen.add(brand[item])
                wanted.append(item)
        assert ruled.filter(row=number)["item"].to_list() == wanted
    twice = [
        model.recommend(some, items, context={"device": device}, rules=Rules(explore="epsilon:0.5"))
        for some in (users, users[1:])
    ]
    assert twice[0].filter(row=1).drop("row").equals(twice[1].drop("row"))


def test_what_is_unknown_is_told(
    model: ClickPredictor, items: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    rows = pl.DataFrame({"uid": ["somebody new"]})
    new = pl.concat([items, items.head(1).with_columns(sku=pl.lit("brand new"))])
    model.recommend(rows, new, k=3, context={"device": "a toaster"})
    assert "1 of 13 candidates are not known to this run by 'sku'" in caplog.text
    assert "device=a toaster is not known to this run" in caplog.text


def test_misuse_is_told(model: ClickPredictor, items: pl.DataFrame) -> None:
    rows, device = pl.DataFrame({"uid": ["u1"]}), {"device": "x"}
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: model.score(rows, {"devise": 1}), r"no column 'devise'.*device"),
        (lambda: model.score(rows.with_columns(device=pl.lit("x")), device), "already"),
        (lambda: model.score(rows, {"device": ["a", "b"]}), "one value"),
        (lambda: model.score(rows, {"device": {"a": 1}}), "a number or a text"),
        (lambda: model.recommend(rows, items), r"reads device, .* context=\{device: VALUE\}"),
        (lambda: model.recommend(rows, items.drop("sku"), context=device), "no column 'sku'"),
        (lambda: model.recommend(rows, items.head(0), context=device), "no candidates"),
        (lambda: model.recommend(rows, items, k=13, context=device), "say 1 to 12, as many"),
        (
            lambda: model.recommend(rows, pl.concat([items, items]), context=device),
            "is there twice",
        ),
        (
            lambda: model.recommend(
                rows, items.with_columns(pl.concat_list("sku")), context=device
            ),
            "'sku' holds lists",
        ),
        (
            lambda: model.recommend(rows.with_columns(price=1.0), items, context=device),
            "price are in the rows and in the candidates",
        ),
        (
            lambda: model.recommend(rows, items, context=device, rules=Rules(where="brand > 9")),
            "leave no item",
        ),
        (
            lambda: model.recommend(rows, items, context=device, rules=Rules(diversity="mmr:0.3")),
            "no vectors",
        ),
        (
            lambda: model.recommend(
                rows, items, context=device, rules=Rules(calibration="0.5@brand")
            ),
            "history of a user",
        ),
        (
            lambda: model.recommend(pl.DataFrame({"odd": [1]}), items),
            "reads uid, device, which neither",
        ),
    ]
    for call, said in calls:
        with pytest.raises(UserError, match=said):
            call()


def test_the_commands(
    run: Path, model: ClickPredictor, items: pl.DataFrame, tmp_path: Path, capsys: Out
) -> None:
    items.write_csv(tmp_path / "items.csv")
    items.head(2).write_csv(tmp_path / "few.csv")
    few = [f"model={run}", f"items={tmp_path / 'few.csv'}", "context={device: phone}"]
    assert cli.run(["recommend", *few, "row={uid: u1}"]) == 0  # ten, if there are as many
    capsys.readouterr()
    asked = [f"model={run}", f"items={tmp_path / 'items.csv'}", "context={device: phone}"]
    assert cli.run(["recommend", *asked, "row={uid: u1}", "k=3", "deny=[i00]"]) == 0
    shown = capsys.readouterr().out
    wanted = model.recommend(
        pl.DataFrame({"uid": ["u1"]}), pl.read_csv(tmp_path / "items.csv"), 3,
        context={"device": "phone"}, rules=Rules(deny=["i00"]),
    )  # fmt: skip
    for row in wanted.rows(named=True):
        assert f"{row['score']:.4f}" in shown
    pl.DataFrame({"uid": ["u1", "u2"]}).write_csv(tmp_path / "rows.csv")
    files = ["--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "o.parquet")]
    assert cli.run(["recommend", *asked, *files, "k=3", "deny=[i00]"]) == 0
    written = pl.read_parquet(tmp_path / "o.parquet")
    assert written.columns == ["uid", "rank", "item", "title", "score"]
    assert written.filter(uid="u1").drop("uid").equals(wanted.drop("row"))
    with pytest.raises(UserError, match="is for models of sequences"):
        cli.run(["recommend", *asked, "user=u1"])
    with pytest.raises(UserError, match="Say items=FILE"):
        cli.run(["recommend", f"model={run}", "row={uid: u1}"])
    with pytest.raises(UserError, match="say for instance context="):
        cli.run(["recommend", f"model={run}", *asked[1:2], "row={uid: u1}", "context=noon"])
    with pytest.raises(UserError, match="nothing else here"):
        cli.run(["recommend", *asked, "row={uid: u1}", "at=2026-11-28"])
    pl.DataFrame({"title": ["Dr"], "uid": ["u1"]}).write_csv(tmp_path / "titled.csv")
    files = ["--input", str(tmp_path / "titled.csv"), "--output", str(tmp_path / "t.parquet")]
    with pytest.raises(UserError, match="the answer has a column 'title' as well"):
        cli.run(["recommend", *asked, *files])
    rows = items.drop("title", "brand").with_columns(uid=pl.lit("u1"))
    rows.write_csv(tmp_path / "pairs.csv")
    files = ["--input", str(tmp_path / "pairs.csv"), "--output", str(tmp_path / "p.parquet")]
    assert cli.run(["predict", f"model={run}", "context={device: phone}", *files]) == 0
    scored = pl.read_parquet(tmp_path / "p.parquet")
    assert scored["score"].to_list() == model.score(rows, {"device": "phone"})["score"].to_list()
