"""Rules, the time and the context of a request: HTTP answers what Python answers, or says why not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.servers import Asking

from lightning_rec import Rules, load_run
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor

Served = Callable[..., Asking]
BOOSTS = [
    {"where": "title > 'Title i20'", "factor": 2.0, "from": "2026-11-27", "to": "2026-12-01"},
    {"item": "i03", "add": 5},
]


@pytest.mark.parametrize(
    "rules",
    [
        {"deny": ["i03", "i10"], "where": "title < 'Title i30'"},
        {"allow": ["i03", "i10", "i17", "i24"]},
        {"boosts": BOOSTS, "at": "2026-11-28"},
        {"boosts": BOOSTS, "at": "2026-12-05"},
        {"per": {"title": 1}, "diversity": "mmr:0.5"},
        {"explore": "epsilon:0.7", "seed": 4, "pool": 12},
        {"calibration": "0.8@title"},
    ],
)
def test_rules_are_those_of_python(sasrec: Path, served: Served, rules: dict[str, Any]) -> None:
    ask, predictor = served(sasrec), load_run(sasrec)
    history = ["i05", "i31"]
    found = ask("/recommend", {"history": history, "k": 4, "rules": rules})
    assert found.status == 200, found.body
    wanted = predictor.recommend([history], k=4, rules=Rules(**rules)).drop("row").to_dicts()
    assert found.body["items"] == wanted
    assert ("propensity" in found.body["items"][0]) == ("explore" in rules)
    found = ask("/recommend", {"user": "u4", "k": 4, "rules": rules})
    wanted = predictor.recommend(users=["u4"], k=4, rules=Rules(**rules)).drop("user").to_dicts()
    assert found.body["items"] == wanted


def test_the_time_decides_which_boosts_hold(sasrec: Path, served: Served) -> None:
    ask = served(sasrec)
    asked = {"history": ["i05"], "k": 40, "seen": "keep"}
    scores = {}
    for at in (None, "2026-11-26 23:59", "2026-11-27", 1_796_083_199, "2026-12-01"):
        rules = None if at is None else {"boosts": BOOSTS[:1], "at": at}
        found = ask("/recommend", asked | {"rules": rules})
        assert found.status == 200, found.body
        scores[at] = {row["item"]: row["score"] for row in found.body["items"]}
    assert scores[None] == scores["2026-11-26 23:59"] == scores["2026-12-01"]
    assert scores["2026-11-27"] == scores[1_796_083_199] != scores[None]


def test_a_list_that_is_empty_of_rules_is_the_plain_one(sasrec: Path, served: Served) -> None:
    ask = served(sasrec)
    plain = ask("/recommend", {"user": "u4", "k": 3}).body["items"]
    nothing: tuple[Any, ...] = (None, {}, {"seed": 7}, {"boosts": []}, {"at": "2026-11-28"})
    for rules in nothing:
        assert ask("/recommend", {"user": "u4", "k": 3, "rules": rules}).body["items"] == plain
    denied = ask("/recommend", {"user": "u4", "k": 3, "rules": {"deny": [plain[0]["item"]]}})
    assert plain[0]["item"] not in [row["item"] for row in denied.body["items"]]
    assert ask("/recommend", {"user": "u4", "k": 3}).body["items"] == plain  # nothing was kept
    session = {"user": "u4", "items": [plain[1]["item"]]}
    assert ask("/events", session).status == 200
    after = ask("/recommend", {"user": "u4", "k": 3, "seen": "filter", "rules": {"deny": ["i00"]}})
    assert plain[1]["item"] not in [row["item"] for row in after.body["items"]]


def test_fewer_than_k_may_be_left(sasrec: Path, served: Served) -> None:
    ask = served(sasrec)
    asked = {
        "history": ["i05"],
        "k": 10,
        "seen": "keep",
        "rules": {"allow": ["i03", "i10", "nope"]},
    }
    assert len(ask("/recommend", asked).body["items"]) == 2


@pytest.mark.parametrize(
    ("rules", "code", "said"),
    [
        ({"where": "price < 3"}, "refused", "no column 'price'"),
        ({"where": "__import__('os')"}, "refused", "neither true nor false"),
        ({"where": "title == 'no such'"}, "refused", "leave no item"),
        ({"allow": []}, "refused", "leave no item"),
        ({"per": {"brand": 1}}, "refused", "no column 'brand'"),
        ({"per": {"title": 0}}, "invalid", "greater than or equal to 1"),
        ({"diversity": "magic"}, "refused", "unknown kind"),
        ({"explore": "epsilon:7"}, "refused", "1 at most"),
        ({"boosts": "/etc/passwd"}, "invalid", "valid list"),
        ({"boosts": [{"item": "i03"}]}, "refused", "has none of 'factor' and 'add'"),
        ({"boosts": [{"add": 1}]}, "refused", "neither of 'item' and 'where'"),
        ({"boosts": [{"item": "i03", "add": 1}], "at": "noon"}, "refused", "no time"),
        ({"boosts": [{"item": "i03", "add": 1}], "at": 10**30}, "invalid", "less than"),
        ({"boosts": [{"item": "i03", "add": 1}] * 21}, "invalid", "at most 20"),
        ({"deny": ["x"] * 10_001}, "invalid", "at most 10000"),
        ({"allow": "items.csv"}, "invalid", "valid list"),
        ({"pool": 10}, "refused", "no effect"),
        ({"zzz": 1}, "invalid", "Extra inputs"),
        ({"wher": "price < 1"}, "invalid", "rules: 'wher' is no key here. Did you mean 'where'?"),
        ({"deny": [10**40, "i03"]}, None, None),
    ],
)
def test_misuse_has_a_code_and_a_sentence(
    sasrec: Path, served: Served, rules: dict[str, Any], code: str | None, said: str | None
) -> None:
    found = served(sasrec)("/recommend", {"history": ["i05"], "k": 3, "rules": rules})
    if code is None:
        assert found.status == 200
        return
    assert found.code == code, found.body
    assert said in found.body["error"]["message"], found.body


def test_context_of_clicks(deepfm: Path, sasrec: Path, served: Served, click_frame: pl.DataFrame) -> None:  # fmt: skip
    ask, predictor = served(deepfm), load_run(deepfm)
    assert isinstance(predictor, ClickPredictor)
    rows = click_frame.select("uid", "sku", "price")[:10]
    for device in ("phone", "desk"):
        found = ask("/predict", {"rows": rows.to_dicts(), "context": {"device": device}})
        wanted = predictor.score(rows, {"device": device}).select("score").to_dicts()
        assert found.body["scores"] == wanted
    for context, said in (
        ({"devise": 1}, "reads no column 'devise'"),
        ({"uid": "u1"}, "already"),
        ({"device": ["a", "b"]}, "one value"),
    ):
        found = ask("/predict", {"rows": rows.to_dicts(), "context": context})
        assert found.code == "refused"
        assert said in found.body["error"]["message"]
    assert ask("/predict", {"rows": rows.to_dicts(), "context": {"device": {}}}).code == "invalid"
    other = {"rows": [{"user": "u4", "item": "i05"}], "context": {"device": "phone"}}
    assert served(sasrec)("/predict", other).code == "cannot_answer"


def test_candidates_of_clicks(deepfm: Path, sasrec: Path, served: Served, click_frame: pl.DataFrame) -> None:  # fmt: skip
    ask, predictor = served(deepfm, rows=20), load_run(deepfm)
    assert isinstance(predictor, ClickPredictor)
    items = click_frame.select("sku").unique(maintain_order=True).head(9)
    items = items.with_columns(
        item="sku", price=pl.int_range(pl.len()).cast(pl.Float64), brand=pl.lit("b")
    )
    asked: dict[str, Any] = {"row": {"uid": "u1"}, "candidates": items.to_dicts(), "k": 4}
    context = {"device": "phone"}
    found = ask("/recommend", asked | {"context": context, "rules": {"where": "price > 1"}})
    assert found.status == 200, found.body
    wanted = predictor.recommend(
        pl.DataFrame({"uid": ["u1"]}), items, 4, context=context, rules=Rules(where="price > 1")
    )
    assert found.body["items"] == wanted.drop("row").to_dicts()
    asked_all = {key: value for key, value in asked.items() if key != "k"}
    assert len(ask("/recommend", asked_all | {"context": context}).body["items"]) == 9  # of ten
    more = ask("/recommend", asked | {"k": 10, "context": context}).body
    assert (len(more["items"]), more["note"]) == (9, "There are 9 candidates, fewer than k=10.")
    for body, code in (
        (asked, "refused"),  # no device
        (asked | {"candidates": []}, "invalid"),
        ({"row": {"uid": "u1"}}, "invalid"),
        (asked | {"user": "u1"}, "invalid"),
        (asked | {"candidates": items.to_dicts() * 2, "context": context}, "refused"),
        (asked | {"candidates": items.to_dicts() * 3, "context": context}, "too_large"),
        (asked | {"candidates": [{"price": 1.0}], "k": 1, "context": context}, "refused"),
        (asked | {"context": context, "rules": {"diversity": "mmr:0.3"}}, "refused"),
        (asked | {"context": context, "rules": {"calibration": "0.5@sku"}}, "refused"),
    ):
        answer = ask("/recommend", body)
        assert answer.status >= 400, body
        assert answer.code == code, (body, answer.body)
    assert served(sasrec)("/recommend", {"history": ["i05"], "context": context}).code == "cannot_answer"  # fmt: skip


def test_search_takes_rules(pairs_csv: Path, tmp_path: Path, served: Served) -> None:
    pytest.importorskip("bm25s")
    from serving.conftest import trained

    columns = ["data.query=term", "data.title=name", "data.item=sku", "data.relevance=grade"]
    more = ["data.positive_from=2.5", "data.scale=[1,3]", "protocol.cutoffs=[1,5,10]"]
    about = [
        "data=pairs",
        f"data.path={pairs_csv}",
        "model=bm25",
        "protocol.val=0.1",
        "protocol.test=0.2",
    ]
    folder = trained(tmp_path / "run", *about, *columns, *more)
    ask, predictor = served(folder), load_run(folder)
    assert isinstance(predictor, MatchPredictor)
    plain = ask("/search", {"query": "red lamp", "k": 3}).body["items"]
    rules = {"deny": [plain[0]["item"]], "where": "'lamp' in title"}
    found = ask("/search", {"query": "red lamp", "k": 3, "rules": rules})
    wanted = predictor.recommend(["red lamp"], k=3, rules=Rules(**rules)).drop("query").to_dicts()
    assert found.body["items"] == wanted != plain
    assert all("lamp" in row["title"] for row in found.body["items"])
    assert ask("/search", {"query": "red lamp", "rules": {"diversity": "mmr:0.3"}}).code == "cannot_answer"  # fmt: skip
    assert ask("/search", {"query": "red lamp", "rules": {"explore": "thompson:1"}}).code == "refused"  # fmt: skip
