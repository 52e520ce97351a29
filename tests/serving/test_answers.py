"""HTTP answers what Python answers, to the bit; what it cannot answer has a code and a sentence."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.conftest import trained
from serving.servers import Asking

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.ids import ids_of
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.serving.opening import version_of
from lightning_rec.serving.raw_ids import text_of

Served = Callable[..., Asking]
HISTORIES = [["i03", "i10", "i17"], ["i05"], ["i24", "i31"] * 8]


@pytest.mark.parametrize("seen", [None, "keep", "filter"])
def test_recommendations_are_those_of_python(
    sasrec: Path, served: Served, seen: str | None
) -> None:
    ask, predictor = served(sasrec), load_run(sasrec)
    for history in HISTORIES:
        found = ask("/recommend", {"history": history, "k": 7, "seen": seen})
        assert found.status == 200
        assert found.body["items"] == predictor.recommend([history], k=7, seen=seen).drop("row").to_dicts()  # fmt: skip
        assert found.body["unknown_items"] == 0
    found = ask("/recommend", {"user": "u4", "k": 3, "seen": seen})
    own = predictor.recommend(users=["u4"], k=3, seen=seen).drop("user")
    assert found.body["items"] == own.to_dicts()
    assert found.body["items"][0]["title"].startswith("Title i")


def test_similar_items_and_scores_are_those_of_python(sasrec: Path, served: Served) -> None:
    ask, predictor = served(sasrec), load_run(sasrec)
    found = ask("/similar", {"items": ["i05", "i07"], "k": 3})
    assert found.body["items"] == predictor.similar(["i05", "i07"], k=3).to_dicts()
    rows = [{"user": "u4", "item": "i05"}, {"user": "u9", "item": "none"}]
    found = ask("/predict", {"rows": rows})
    assert found.body["scores"] == predictor.score(pl.DataFrame(rows)).select("score").to_dicts()


def test_a_bundle_is_served_as_its_run(sasrec: Path, served: Served, tmp_path: Path) -> None:
    assert cli.run(["export", f"run={sasrec}", f"to={tmp_path / 'bundle'}"]) == 0
    run, bundle = served(sasrec), served(tmp_path / "bundle")
    versions = {version_of(each) for each in (sasrec, tmp_path / "bundle", tmp_path)}
    assert len(versions) == 3
    for asked in ({"history": HISTORIES[0], "k": 7}, {"user": "u4", "k": 3}):
        found = bundle("/recommend", asked)
        assert found.status == 200
        assert found.body["items"] == run("/recommend", asked).body["items"]
    assert bundle("/similar", {"items": ["i05"]}).body["items"] == run("/similar", {"items": ["i05"]}).body["items"]  # fmt: skip


def test_a_column_may_begin_as_the_answer_does(
    click_frame: pl.DataFrame, tmp_path: Path, served: Served
) -> None:
    renamed = click_frame.rename({"price": "score_of_shop"})
    renamed.write_csv(tmp_path / "clicks.csv")
    fields = "data.fields={categorical:[uid,sku],numeric:[score_of_shop],label:clicked}"
    about = ["data=click_table", f"data.path={tmp_path / 'clicks.csv'}", fields, "model=lr"]
    folder = trained(tmp_path / "run", "task=click", *about)
    ask, predictor = served(folder, log=tmp_path / "log", log_items=True), load_run(folder)
    rows = renamed.select("uid", "sku", "score_of_shop")[:5]
    found = ask("/predict", {"rows": rows.to_dicts()})
    assert found.status == 200, found.body
    wanted = predictor.score(rows)
    assert found.body["scores"] == wanted.select("score").to_dicts()
    assert ask("/predict", {"rows": wanted.to_dicts()}).code == "refused"
    candidates = rows.drop("uid").unique("sku").with_columns(item="sku").to_dicts()
    ranked = ask("/recommend", {"row": {"uid": "u1"}, "candidates": candidates})
    assert len(ranked.body["items"]) == len(candidates)
    told = (tmp_path / "log").read_text().splitlines()
    assert json.loads(told[-1])["k"] == len(candidates)  # none is short of what was asked


def test_clicks_are_those_of_python(
    deepfm: Path, served: Served, click_frame: pl.DataFrame
) -> None:
    ask, predictor = served(deepfm), load_run(deepfm)
    assert isinstance(predictor, ClickPredictor)
    rows = click_frame.select("uid", "sku", "device", "price")[:20].to_dicts()
    found = ask("/predict", {"rows": rows})
    assert found.body["scores"] == predictor.score(pl.DataFrame(rows)).select("score").to_dicts()
    assert ask("/predict", {"rows": [{"uid": "u1"}]}).code == "refused"
    short = [rows[0], {name: rows[1][name] for name in ("uid", "sku", "device")}]
    refused = ask("/predict", {"rows": short})
    assert refused.code == "refused"
    assert "Row 1 has no 'price'" in str(refused.body)
    for odd in (10**40, 1e308, "inf"):
        assert ask("/predict", {"rows": [rows[0] | {"price": odd}]}).code == "refused"
    assert ask("/recommend", {"user": "u1"}).code == "cannot_answer"
    assert ask("/events", {"user": "u1", "items": ["i05"]}).code == "cannot_answer"
    assert ask("/similar", {"items": ["i05"]}).code == "cannot_answer"
    assert ask("/version").body["items"] is None


def test_search_is_that_of_python(pairs_csv: Path, tmp_path: Path, served: Served) -> None:
    pytest.importorskip("bm25s")
    columns = ["data.query=term", "data.title=name", "data.item=sku", "data.relevance=grade"]
    grades = [
        "data.positive_from=2.5",
        "data.scale=[1,3]",
        "protocol.val=0.1",
        "protocol.test=0.2",
        "protocol.cutoffs=[1,5,10]",
    ]
    about = ["data=pairs", f"data.path={pairs_csv}", *columns, *grades, "model=bm25"]
    folder = tmp_path / "run"
    assert cli.run(["train", *about, "logger=none", "trainer=cpu", f"run_dir={folder}"]) == 0
    ask, predictor = served(folder), load_run(folder)
    found = ask("/search", {"query": "red lamp", "k": 4})
    assert found.body["items"] == predictor.recommend(["red lamp"], k=4).drop("query").to_dicts()
    assert found.body["items"]
    assert ask("/search", {"query": "   ", "k": 4}).code == "refused"
    assert ask("/recommend", {"history": ["i01"]}).code == "cannot_answer"


def test_a_model_of_users_answers_for_those_it_knows(
    sequence_run: Callable[..., Path], served: Served
) -> None:
    folder = sequence_run("model=bprmf", "model.dim=8", "protocol=random_items")
    ask = served(folder)
    own = load_run(folder).recommend(users=["u5"], k=3).drop("user").to_dicts()
    assert ask("/recommend", {"user": "u5", "k": 3}).body["items"] == own
    assert ask("/recommend", {"history": ["i01"]}).code == "cannot_answer"
    assert ask("/events", {"user": "u5", "items": ["i01"]}).code == "cannot_answer"


@pytest.mark.parametrize(
    "value",
    ["12", 12, 12.0, -0.0, "12.0", "007", " i03 ", "", "NA", "nan", "1.23457E+11", 2**53 + 0.0,
     2**80, "é", "e\u0301", "a\u00a0b", "\ufeffx", 1.5, "12.", "-3.0", 1e300],
)  # fmt: skip
def test_ids_are_read_by_the_one_rule(value: Any) -> None:
    if isinstance(value, int) and value >= 2**63:
        assert text_of(value) == str(value)
    else:
        assert text_of(value) == ids_of(pl.Series([value]))[0]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/recommend", {"user": "nobody"}, "unknown_user"),
        ("/recommend", {"user": ""}, "invalid"),
        ("/recommend", {}, "invalid"),
        ("/recommend", {"user": "u4", "history": []}, "invalid"),
        ("/recommend", {"history": ["i01"], "k": 0}, "invalid"),
        ("/recommend", {"history": ["i01"], "k": 41}, "refused"),
        ("/recommend", {"history": ["i01"], "k": 101}, "too_large"),
        ("/recommend", {"history": ["i01"] * 1001}, "too_large"),
        ("/recommend", {"history": [True]}, "invalid"),
        ("/recommend", {"history": [["i01"]]}, "invalid"),
        ("/recommend", {"history": ["i01"], "model": "/etc/passwd"}, "invalid"),
        ("/recommend", b'{"history": [NaN]}', "invalid"),
        ("/recommend", b'{"history": ["\\ud800"]}', "invalid"),
        ("/recommend", b"[" * 100_000, "bad_request"),
        ("/recommend", b"{", "bad_request"),
        ("/recommend", b"\xff", "bad_request"),
        ("/recommend", [1], "bad_request"),
        ("/similar", {"items": ["nothing"]}, "unknown_item"),
        ("/similar", {"items": ["i01"], "k": 40}, "refused"),
        ("/search", {"query": "x"}, "cannot_answer"),
        ("/predict", {"rows": [{"user": "u4"}]}, "refused"),
        ("/predict", {"rows": [{"user": "u4", "item": ["i01"]}]}, "refused"),
        ("/predict", {"rows": [{"user": "u4", "item": "i01", "score": 1}]}, "refused"),
        ("/predict", {"rows": [{}] * 1001}, "too_large"),
        ("/events", {"user": "u4", "items": [""]}, "invalid"),
        ("/nothing", {}, "not_found"),
        ("/health", {}, "wrong_method"),
        ("/admin/reload", {}, "forbidden"),
    ],
)
def test_what_is_not_answered_has_a_code(
    sasrec: Path, served: Served, path: str, body: Any, code: str
) -> None:
    found = served(sasrec)(path, body)
    assert found.code == code
    assert found.body["error"]["message"].strip()[-1] in ".?"
    assert "Traceback" not in json.dumps(found.body)
    assert found.headers["x-request-id"]


def test_a_body_without_its_type_is_told_so(sasrec: Path, served: Served) -> None:
    asked = {"Content-Type": "application/x-www-form-urlencoded"}
    found = served(sasrec)("/recommend", {"user": "u4"}, **asked)
    assert (found.status, found.code) == (400, "bad_request")
    assert '"Content-Type: application/json"' in found.body["error"]["message"]
    meant = served(sasrec)("/recommend", {"usr": "u4"}).body["error"]["message"]
    assert meant == "body: 'usr' is no key here. Did you mean 'user'?"


def test_an_empty_history_and_unknown_items_have_no_answer_and_no_error(
    sasrec: Path, served: Served
) -> None:
    ask = served(sasrec)
    assert ask("/recommend", {"history": []}).body["items"] == []
    found = ask("/recommend", {"history": ["nothing", "i03"]}).body
    assert found["unknown_items"] == 1
    assert found["items"] == ask("/recommend", {"history": ["i03"]}).body["items"]


def test_many_at_once_are_answered_as_one_alone(sasrec: Path, served: Served) -> None:
    """2,000 requests, of which many are computed together: the same items, scores to 1e-5."""
    ask, predictor = served(sasrec, concurrency=20_000, timeout=300), load_run(sasrec)
    assert isinstance(predictor, SequencePredictor)
    items = predictor.items["item"].to_list()
    asked = [[items[(7 * n + 3 * j) % 40] for j in range(1 + n % 9)] for n in range(360)]
    alone = [ask("/recommend", {"history": each}).body["items"] for each in asked]

    async def together() -> list[Any]:
        waiting = [ask.post("/recommend", {"history": asked[n % 360]}) for n in range(2_000)]
        return [each.body["items"] for each in await asyncio.gather(*waiting)]

    for number, found in enumerate(ask.run(together())):
        wanted = alone[number % 360]
        assert [row["item"] for row in found] == [row["item"] for row in wanted]
        assert all(abs(a["score"] - b["score"]) < 1e-5 for a, b in zip(found, wanted, strict=True))
    page = ask("/metrics").body
    sizes = [float(line.split()[1]) for line in page.splitlines() if line.startswith("lightning_rec_batch_size_count")]  # fmt: skip
    assert sizes[0] < 1_000  # computed together


def test_the_rooms_of_serving_know_neither_hydra_nor_lightning() -> None:
    import lightning_rec.serving as room

    for path in Path(room.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert not any(name in text for name in ("import hydra", "omegaconf", "pytorch_lightning"))
    done = subprocess.run(
        [sys.executable, "-m", "lightning_rec", "serve", "--help"], capture_output=True, text=True
    )
    assert "lightning-rec serve model=runs/sasrec" in done.stdout
