"""Searches in the order of a user over HTTP are those of Python."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from serving.conftest import trained
from serving.servers import Asking

from lightning_rec import Rules, load_run
from lightning_rec.answers.personal import PersonalSearch
from lightning_rec.errors import UserError
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.serving.events import Event


@pytest.fixture(scope="module")
def bm25(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in ("bm25s", "Stemmer"):
        pytest.importorskip(library)
    items = pl.read_csv(catalogue, schema_overrides={"sku": pl.String})
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    pairs = items.with_columns(query=pl.col("title").str.split(" ").list.last(), grade=3)
    wrong = pairs.with_columns(query=pl.col("query").reverse(), grade=pl.lit(1))
    pl.concat([pairs, wrong.select(pairs.columns).cast(pairs.schema)]).write_csv(path)
    about = ["data=pairs", f"data.path={path}", "data.query=query", "data.title=title"]
    about += ["data.item=sku", "data.relevance=grade", "data.positive_from=2"]
    about += ["data.scale=[1,3]", "protocol.val=0.2", "protocol.test=0.2", "model=bm25"]
    about += ["protocol.cutoffs=[1,10]"]
    return trained(tmp_path_factory.mktemp("bm25") / "run", *about)


def test_users_histories_and_events_change_the_order(
    served: Callable[..., Asking], bm25: Path, sasrec: Path
) -> None:
    ask = served(bm25, taste=sasrec, weight="0.7", cache=0)
    matching, taste = load_run(bm25), load_run(sasrec)
    assert isinstance(matching, MatchPredictor)
    assert isinstance(taste, SequencePredictor)
    search = PersonalSearch(matching, taste, 0.7)
    assert taste.users is not None
    user, past = taste.users["user"][3], taste.users["items"][3]
    ids = taste.items["item"].gather(past).to_list()
    new = next(item for item in taste.items["item"] if item not in ids)
    for body, same in (
        ({"user": user}, {"users": [user]}),
        ({"history": ids[:3]}, {"histories": [ids[:3]]}),
        ({"user": user, "seen": "filter"}, {"users": [user], "seen": "filter"}),
        ({"history": ["nobody's"]}, {"histories": [["nobody's"]]}),
        ({"user": user, "rules": {"deny": [ids[0]]}},
         {"users": [user], "rules": Rules(deny=[ids[0]])}),
    ):  # fmt: skip
        answer = ask("/search", {"query": "title", "k": 5} | body)
        assert answer.status == 200, answer.body
        right = search.recommend(["title"], k=5, **same)
        assert [row["item"] for row in answer.body["items"]] == right["item"].to_list()
        alone = body.get("history") == ["nobody's"]
        assert ("by relevance alone" in answer.body.get("note", "")) == alone
        for name in ("score", "relevance", "taste"):
            told = [row[name] for row in answer.body["items"]]
            assert told == pytest.approx(right[name].to_list(), abs=1e-6)
    assert "note" in ask("/search", {"query": "title", "user": "nobody"}).body
    before = ask("/search", {"query": "title", "user": user}).body["items"]
    assert ask("/events", {"user": user, "items": [new]}).status == 200
    after = ask("/search", {"query": "title", "user": user}).body["items"]
    assert [row["taste"] for row in after] != [row["taste"] for row in before]
    right = search.recommend(["title"], histories=[[*ids, new]])
    assert [row["item"] for row in after] == right["item"].to_list()
    assert "taste" not in ask("/search", {"query": "title"}).body["items"][0]
    assert ask("/version").body["taste"]


def test_searches_ask_of_the_columns_of_a_table(
    served: Callable[..., Asking], bm25: Path, sasrec: Path, tmp_path: Path
) -> None:
    plain = served(bm25)
    items = [row["item"] for row in plain("/search", {"query": "title", "k": 20}).body["items"]]
    table = tmp_path / "items.csv"
    prices = {"item": items, "price": [5 + n % 7 for n in range(len(items))]}
    pl.DataFrame(prices).write_csv(table)
    asked = {"query": "title", "k": 5, "rules": {"where": "price < 8"}}
    found = served(bm25, items=table)("/search", asked).body["items"]
    cheap = [item for item, price in zip(*prices.values(), strict=True) if price < 8]
    assert [row["item"] for row in found] == cheap[:5]
    assert "no column 'price'" in plain("/search", asked).body["error"]["message"]
    with pytest.raises(UserError, match="is of models of matching, not of sequences"):
        served(sasrec, items=table)


def test_what_is_asked_without_a_taste_is_told(
    served: Callable[..., Asking], bm25: Path, sasrec: Path
) -> None:
    plain = served(bm25)
    answer = plain("/search", {"query": "title", "user": "u1"})
    assert (answer.status, answer.code) == (422, "cannot_answer")
    assert "taste=FOLDER" in answer.body["error"]["message"]
    ask = served(bm25, taste=sasrec, weight="1")
    nobody = ask("/search", {"query": "title", "user": "nobody"}).body["items"]
    relevant = [row["item"] for row in plain("/search", {"query": "title"}).body["items"]]
    assert [row["item"] for row in nobody] == relevant
    both = ask("/search", {"query": "title", "user": "u1", "history": ["i1"]})
    assert both.code == "invalid"
    assert ask("/search", {"query": "title", "seen": "keep"}).code == "invalid"
    with pytest.raises(UserError, match="taste= is of searches"):
        served(sasrec, taste=sasrec, weight="1")
    with pytest.raises(UserError, match="one of sequences"):
        served(bm25, taste=bm25, weight="1")
    with pytest.raises(UserError, match="go together"):
        served(bm25, taste=sasrec)
    with pytest.raises(UserError, match="neither a file nor a number"):
        served(bm25, taste=sasrec, weight="much")


def test_somebody_unknown_to_a_model_of_users_gets_relevance(
    served: Callable[..., Asking], bm25: Path, sequence_run: Callable[..., Path]
) -> None:
    ask = served(bm25, taste=sequence_run("model=bprmf", "model.dim=8"), weight="1")
    ask.run(
        ask.service.sessions.append("nobody", [Event("i01")], None)
    )  # as from another model's time
    found = [
        ask("/search", {"query": "title"} | more).body["items"] for more in ({}, {"user": "nobody"})
    ]
    assert [row["item"] for row in found[0]] == [row["item"] for row in found[1]]
