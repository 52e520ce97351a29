"""The goal that orders candidates, and what an answer tells of rules that did nothing, or much."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cli.test_figures import RUNS
from serving.conftest import trained
from serving.servers import Asking

from lightning_rec import Rules, load_run
from lightning_rec.predict.clicks import ClickPredictor

Served = Callable[..., Asking]
PAST, COMING = "2020-01-01", 4_102_444_800  # seconds of the year 2100


@pytest.fixture(scope="module")
def goals(click_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    about = [each.replace("$clicks", str(click_csv)) for each in RUNS["mmoe"]]
    return trained(tmp_path_factory.mktemp("goals") / "run", *about)


def candidates_of(clicks: pl.DataFrame) -> pl.DataFrame:
    items = clicks.select("sku").unique(maintain_order=True).head(9)
    price, tags = pl.int_range(pl.len()).cast(pl.Float64), pl.lit("a|b")
    return items.with_columns(item="sku", price=price, tags=tags)


def test_a_goal_orders_candidates_as_from_python(
    goals: Path, deepfm: Path, sasrec: Path, served: Served, click_frame: pl.DataFrame
) -> None:
    ask, predictor, items = served(goals), load_run(goals), candidates_of(click_frame)
    assert isinstance(predictor, ClickPredictor)
    row = {"uid": "u1", "device": "phone"}
    asked: dict[str, Any] = {"row": row, "candidates": items.to_dicts(), "k": 4}
    orders = []
    for goal in ("click", "dear"):
        found = ask("/recommend", asked | {"goal": goal})
        assert found.status == 200, found.body
        wanted = predictor.recommend(pl.DataFrame([row]), items, 4, goal=goal)
        assert found.body["items"] == wanted.drop("row").to_dicts()
        orders.append(found.body["items"])
    assert orders[0] != orders[1]
    refused = ask("/recommend", asked)
    assert refused.code == "refused"
    assert "say goal= one of click, dear" in refused.body["error"]["message"]
    assert "Did you mean 'dear'" in ask("/recommend", asked | {"goal": "deer"}).body["error"]["message"]  # fmt: skip
    assert ask("/recommend", asked | {"goal": 1}).code == "invalid"
    assert served(sasrec)("/recommend", {"history": ["i05"], "goal": "click"}).code == "cannot_answer"  # fmt: skip
    described = ask("/openapi.json").body["components"]["schemas"]["RecommendRequest"]
    assert {"type": "string", "maxLength": 200} in described["properties"]["goal"]["anyOf"]


BOOSTS: list[tuple[list[dict[str, Any]], str | None]] = [
    ([{"item": "i03", "factor": 2.0}], None),
    ([{"item": "nothing", "factor": 2.0}], "boosts: 1 of the items are not known to this run"),
    ([{"where": "title == 'x'", "add": 2.0}], "the condition is true of no item in row 1"),
    ([{"item": "i03", "add": 1.0, "to": PAST}], "of 1 rows these are not in force at"),
    (
        [{"item": "i03", "add": 9, "from": PAST}, {"item": "i04", "add": 9, "from": COMING}],
        "of 2 rows these are not in force at 2026-11-28 00:00 UTC: 2",
    ),
]


@pytest.mark.parametrize(("boosts", "told"), BOOSTS)
def test_boosts_without_effect_are_told(
    sasrec: Path, served: Served, boosts: list[dict[str, Any]], told: str | None
) -> None:
    """Times of the last are text in one row and seconds in the other."""
    asked = {"history": ["i05"], "k": 3, "rules": {"boosts": boosts, "at": "2026-11-28"}}
    found = served(sasrec)("/recommend", asked)
    assert found.status == 200, found.body
    assert (told is None) == ("note" not in found.body)
    assert told is None or told in found.body["note"]
    assert len(boosts) == 1 or found.body["items"][0]["item"] == "i03"


def test_fewer_than_asked_for_are_told(sasrec: Path, served: Served) -> None:
    ask, rules = served(sasrec), {"allow": ["i03", "i04", "never"]}
    found = ask("/recommend", {"history": ["i05"], "k": 5, "rules": rules}).body
    assert len(found["items"]) == 2
    assert "2 of k=5: the rules leave no more" in found["note"]
    assert "allow: 1 of 3 items are not known to this run, such as never." in found["note"]
    assert "note" not in ask("/recommend", {"history": [], "k": 5, "rules": {"deny": ["i01"]}}).body
    assert "note" not in ask("/recommend", {"history": ["i05"], "k": 5}).body


def test_a_history_of_unknown_items_alone_is_told(sasrec: Path, served: Served) -> None:
    ask, told = served(sasrec), "The model knows none of the history's items"
    for rules in ({}, {"rules": {"deny": ["i01"]}}):
        found = ask("/recommend", {"history": ["never", "nor this"], "k": 5, **rules}).body
        assert (found["items"], found["unknown_items"]) == ([], 2)
        assert told in found["note"]
        for known in (["never", "i05"], []):
            assert "note" not in ask("/recommend", {"history": known, "k": 5, **rules}).body


def test_candidates_and_their_chances(deepfm: Path, served: Served, click_frame: pl.DataFrame) -> None:  # fmt: skip
    """A number and its text are one value, so that chance gives both the same."""
    ask = served(deepfm)
    for user, same in ((42, "42"), (7.0, "7")):
        lists = []
        for uid in (user, same):
            asked: dict[str, Any] = {"row": {"uid": uid, "device": "phone"}, "k": 5}
            asked["candidates"] = candidates_of(click_frame).drop("tags").to_dicts()
            asked["rules"] = {"explore": "softmax:0.01"}
            lists.append(ask("/recommend", asked).body["items"])
        assert len(lists[0]) == 5
        assert lists[0] == lists[1]
    asked["rules"] = {"where": "price > 6", "boosts": [{"where": "price > 99", "add": 1}]}
    found = ask("/recommend", asked).body
    assert "the condition is true of no item in row 1 (price > 99)" in found["note"]
    assert "2 of k=5: the rules leave no more" in found["note"]


def test_times_of_boosts_are_read_alike_in_python(sasrec: Path) -> None:
    model: Any = load_run(sasrec)
    rows = [{"item": "i03", "add": 50.0, "from": PAST}, {"item": "i04", "add": 99.0}]
    tops = []
    for start in (1_577_836_800, "1577836800", "2020-01-01", 1_577_836_800_000):
        rows[1]["from"] = start
        rules = Rules(boosts=rows, at="2026-11-28")
        tops.append(model.recommend([["i05"]], k=2, rules=rules)["item"].to_list())
    assert tops == [["i04", "i03"]] * 4


def test_what_a_model_reads_of_events_and_no_request_says_is_noted(
    log_csv: Path, sasrec: Path, served: Served, tmp_path: Path
) -> None:
    about = [f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    folder = trained(tmp_path / "run", "data=table", *about, "model=tisasrec", "model.dim=8")
    found = served(folder)("/recommend", {"history": ["i05", "i06"], "k": 3})
    assert found.status == 200
    assert "TiSASRec reads time of each event, which is not said of these" in found.body["note"]
    rules = {"boosts": [{"item": "i03", "factor": 2.0}]}
    ruled = served(folder)("/recommend", {"history": ["i05"], "k": 3, "rules": rules})
    assert "TiSASRec reads time of each event" in ruled.body["note"]
    assert "note" not in served(sasrec)("/recommend", {"history": ["i05"], "k": 3}).body
