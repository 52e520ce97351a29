"""Search with rules and in the order of one user, beside what whole lists sorted by hand give."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import Rules, cli, load_run
from lightning_rec.answers.personal import PersonalSearch
from lightning_rec.answers.personal_fit import WEIGHTS, fit
from lightning_rec.errors import UserError
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor

for library in ("bm25s", "Stemmer", "transformers"):
    pytest.importorskip(library)
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def words(shop_items: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of a run of matching over the shop's catalogue: the first word finds an item."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    pairs = shop_items.select("item", "title", query=pl.col("title").str.split(" ").list.first())
    wrong = pairs.with_columns(query=pl.col("query").reverse(), grade=1)
    pl.concat([pairs.with_columns(grade=3), wrong]).write_csv(path)
    return [
        "data=pairs", f"data.path={path}", "data.query=query", "data.title=title", "data.item=item",
        "data.relevance=grade", "data.positive_from=2", "data.scale=[1,3]", "logger=none", "trainer=cpu", "baseline=null",
        "trainer.max_epochs=1", "protocol.cutoffs=[1,10]", "protocol.val=0.2", "protocol.test=0.2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def bm25_run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bm25") / "run"
    assert cli.run(["train", *words, "model=bm25", f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(params=["bm25", "bi_encoder", "cross_encoder"])
def matching(
    request: pytest.FixtureRequest,
    words: list[str],
    bm25_run: Path,
    tiny_bert: Path,
    tmp_path: Path,
) -> MatchPredictor:
    folder = bm25_run
    if request.param != "bm25":
        folder = tmp_path / "run"
        asked = [f"model={request.param}", f"model.encoder={tiny_bert}", f"run_dir={folder}"]
        asked += ["model.rerank=40"] if request.param == "cross_encoder" else []
        assert cli.run(["train", *words, *asked]) == 0
    found = load_run(folder)
    assert isinstance(found, MatchPredictor)
    return found


@pytest.fixture
def bm25(bm25_run: Path) -> MatchPredictor:
    found = load_run(bm25_run)
    assert isinstance(found, MatchPredictor)
    return found


def test_rules_of_search_are_those_of_the_whole_list(
    matching: MatchPredictor, shop_items: pl.DataFrame
) -> None:
    queries = shop_items["title"].head(3).to_list()
    whole = matching.recommend(queries, k=len(shop_items))
    matching.describe(shop_items.drop("title"))
    kept = whole.join(shop_items.drop("title"), "item", "left", maintain_order="left")
    rules = Rules(where="price < 45", deny=["i00"], per={"kind": 1})
    found = matching.recommend(queries, k=3, rules=rules)
    for query in queries:
        left = kept.filter(
            (pl.col("query") == query) & (pl.col("price") < 45) & (pl.col("item") != "i00")
        )
        own = found.filter(query=query)
        taken, kinds = list[str](), list[str]()
        for row in left.rows(named=True):  # one by one, best first
            if row["kind"] is None or row["kind"] not in kinds:
                taken.append(row["item"])
                kinds.append(row["kind"])
        assert own["item"].to_list() == taken[:3]
    boosts = [{"where": "kind == 'hats'", "add": 0.7}, {"item": "i01", "factor": 3.0}]
    found = matching.recommend(queries, k=5, rules=Rules(boosts=boosts))
    factor = pl.when(pl.col("item") == "i01").then(3.0).otherwise(1.0)
    add = pl.when(pl.col("kind") == "hats").then(0.7).otherwise(0.0)
    wanted = kept.with_columns(score=pl.col("score") * factor + add)
    wanted = wanted.sort("query", "score", descending=[False, True], maintain_order=True)
    for query in queries:
        best = wanted.filter(query=query)["score"].head(5).to_list()
        assert found.filter(query=query)["score"].to_list() == pytest.approx(best, abs=1e-4)


def by_hand(
    matching: MatchPredictor,
    taste: SequencePredictor,
    query: str,
    user: str,
    weight: float,
    among: int,
) -> list[tuple[str, float]]:
    """Items and scores, from the scores of single rows."""
    first = matching.recommend([query], k=among)
    known = taste.score(pl.DataFrame({"user": [user] * len(first), "item": first["item"]}))
    relevance, liked = (
        np.array([np.nan if v is None else v for v in each])
        for each in (first["score"], known["score"])
    )
    parts = [(each - np.nanmean(each)) / (np.nanstd(each) or 1) for each in (relevance, liked)]
    score = (1 - weight) * parts[0] + weight * np.nan_to_num(parts[1])
    order = np.argsort(-score, kind="stable")
    return [(first["item"][int(i)], float(score[i])) for i in order]


@pytest.mark.parametrize("weight", [0.0, 0.35, 1.0])
def test_relevance_and_taste_in_one_score(
    bm25: MatchPredictor, model: SequencePredictor, shop_items: pl.DataFrame, weight: float
) -> None:
    search = PersonalSearch(bm25, model, weight, among=6)
    queries, users = shop_items["title"].head(4).to_list(), ["u4", "u9", "u17", "u4"]
    found = search.recommend(queries, users=users, k=4)
    assert found.columns[:3] == ["query", "user", "rank"]
    for query, user in zip(queries, users, strict=True):
        wanted = by_hand(bm25, model, query, user, weight, 6)[:4]
        own = found.filter(query=query, user=user)
        assert own["score"].to_list() == pytest.approx([score for _, score in wanted], abs=1e-5)
        assert own["item"].to_list() == [item for item, _ in wanted]
        mixed = (1 - weight) * own["relevance"] + weight * own["taste"]
        assert mixed.to_list() == pytest.approx(own["score"].to_list(), abs=1e-5)
    alone = search.recommend(queries[:1], users=["u4"], k=4)
    assert alone["item"].to_list() == found.filter(query=queries[0])["item"].to_list()


def test_any_model_of_matching_says_what_is_relevant(
    matching: MatchPredictor, model: SequencePredictor, shop_items: pl.DataFrame
) -> None:
    search = PersonalSearch(matching, model, 0.4, among=9)
    query = shop_items["title"][5]
    found = search.recommend([query], histories=[["i03", "i10"]], k=9)
    first = matching.recommend([query], k=9)  # no ties but of BM25 at the end of the nine
    known = dict(zip(first["item"], first["score"], strict=True))
    own = found.filter(pl.col("item").is_in(first["item"].implode()))
    assert len(own) >= 7
    relevance = np.array([known[item] for item in own["item"]])
    order = np.argsort(-relevance, kind="stable")
    assert (np.diff(own["relevance"].to_numpy()[order]) < 1e-6).all()
    liked = model.recommend([["i03", "i10"]], k=len(model.items), seen="keep")
    taste = dict(zip(liked["item"], liked["score"], strict=True))
    raw = np.array([taste[item] for item in found["item"]])
    assert np.allclose(found["taste"], (raw - raw.mean()) / raw.std(), atol=1e-4)
    mixed = 0.6 * found["relevance"] + 0.4 * found["taste"]
    assert np.allclose(mixed, found["score"], atol=1e-5)
    assert found["score"].is_sorted(descending=True)


def test_a_personal_order_with_rules_and_what_was_had(
    bm25: MatchPredictor, model: SequencePredictor, shop_items: pl.DataFrame
) -> None:
    query = shop_items["title"][0]
    search = PersonalSearch(bm25, model, 0.5)
    every = search.recommend([query], users=["u4"], k=10)
    had = model.items["item"].gather(model.history_of("u4")).to_list()
    kept = search.recommend([query], users=["u4"], k=10, seen="filter")
    assert set(every["item"]) - set(kept["item"]) == set(every["item"]) & set(had)
    denied = every["item"][0]
    rest = search.recommend([query], users=["u4"], k=3, rules=Rules(deny=[denied]))
    assert denied not in rest["item"].to_list()
    few = PersonalSearch(bm25, model, 0.5, among=3)
    best = few.recommend([query], users=["u4"], k=3)["item"].to_list()
    after = few.recommend([query], users=["u4"], k=3, rules=Rules(deny=best))["item"].to_list()
    assert len(after) == 3  # filters come before the most relevant are taken
    assert not set(after) & set(best)
    boosts = [{"item": every["item"][-1], "add": 100.0}]
    first = search.recommend([query], users=["u4"], k=1, rules=Rules(boosts=boosts))
    assert first["item"].to_list() == [every["item"][-1]]
    assert first["score"][0] == pytest.approx(every["score"][-1] + 100, abs=1e-4)
    drawn = search.recommend([query], users=["u4"], k=3, rules=Rules(explore="epsilon:0.5"))
    assert drawn["propensity"].is_between(0, 1).all()
    with pytest.raises(UserError, match="leave no item"):
        search.recommend([query], users=["u4"], k=3, rules=Rules(where="item == 'none'"))


def test_nobody_known_gets_the_order_of_relevance(
    bm25: MatchPredictor,
    model: SequencePredictor,
    shop_items: pl.DataFrame,
    caplog: pytest.LogCaptureFixture,
) -> None:
    query = shop_items["title"][0]
    search = PersonalSearch(bm25, model, 0.7)
    found = search.recommend([query], histories=[["no such item"]], k=5)
    plain = bm25.recommend([query], k=5)
    scores = bm25.recommend([query], k=40)["score"].to_numpy()
    mean, deviation = scores.mean(), scores.std()
    wanted = 0.3 * (plain["score"].to_numpy() - mean) / deviation
    assert found["score"].to_list() == pytest.approx(wanted.tolist(), abs=1e-5)
    assert "1 of 1 queries are of somebody of whom SASRec knows nothing" in caplog.text
    caplog.clear()
    nobody = search.recommend([query], users=["nobody"], k=5)
    assert nobody.drop("user").equals(found.drop("row"))
    assert "1 of 1 queries are of somebody" in caplog.text
    with pytest.raises(UserError, match="2 queries are asked for 3 users"):
        search.recommend([query, "x"], users=["u4", "u9", "u17"])


def choices(
    bm25: MatchPredictor, model: SequencePredictor, weight: float, among: int
) -> pl.DataFrame:
    """What users would choose who went by this weight: the first of their own order."""
    assert model.users is not None
    users = model.users.filter(pl.col("items").list.len() > 3)["user"].to_list()[:60]
    titles = bm25.catalogue.items["title"].to_list()
    queries = [titles[(7 * n) % len(titles)] for n in range(len(users))]
    search = PersonalSearch(bm25, model, weight, among)
    history = [model.items["item"].gather(model.history_of(user)).to_list()[:-3] for user in users]
    best = search.recommend(queries, histories=history, k=1, seen="filter")
    picked = dict(zip(best["row"].to_list(), best["item"].to_list(), strict=True))
    there = sorted(picked)
    return pl.DataFrame({
        "query": [queries[n] for n in there], "item": [picked[n] for n in there],
        "history": [history[n] for n in there], "user": [users[n] for n in there],
    })  # fmt: skip


def test_the_weight_is_found_that_made_the_choices(
    bm25: MatchPredictor, model: SequencePredictor
) -> None:
    rows = choices(bm25, model, 0.6, 8)
    search = PersonalSearch(bm25, model, 0.0, 8)
    fitted = fit(search, rows, k=3)
    assert fitted.rows == len(rows)
    table = dict(zip(fitted.table["weight"], fitted.table["ndcg"], strict=True))
    # Every figure of the table is that of the public answer.
    for weight in (0.0, WEIGHTS[7], fitted.weight, WEIGHTS[-1]):
        search.weight = weight
        found = search.recommend(rows["query"].to_list(), histories=rows["history"].to_list(), k=3)
        chosen = rows.with_row_index("row").select(pl.col("row"), "item")
        hits = found.join(chosen, on=["row", "item"])
        gain = float((1 / (hits["rank"] + 1.0).log(2)).sum()) / len(rows)
        assert table[weight] == pytest.approx(gain, abs=1e-9)
    assert table[fitted.weight] == max(table.values())
    assert abs(fitted.weight - 0.6) <= 0.2
    assert fitted.plain == pytest.approx(table[0.0])
    assert fitted.interval[0] <= fitted.ndcg - fitted.plain <= fitted.interval[1]


def test_a_choice_that_the_history_holds_is_no_validation(
    bm25: MatchPredictor, model: SequencePredictor
) -> None:
    rows = choices(bm25, model, 0.6, 8)
    search = PersonalSearch(bm25, model, 0.0, 8)
    leaked = rows.with_columns(
        history=pl.when(pl.int_range(pl.len()) < 5)
        .then(pl.concat_list("history", "item"))
        .otherwise("history")
    )
    fitted = fit(search, leaked)
    assert fitted.rows == len(rows) - 5
    assert list(fitted.left_out.values()) == [0, 5, 0]
    known = rows.drop("history").with_columns(
        item=pl.Series([model.items["item"][int(model.history_of(u)[0])] for u in rows["user"]])
    )
    with pytest.raises(UserError, match=r"Only 0 rows.*may be the choice itself"):
        fit(search, known)
    with pytest.raises(UserError, match="neither a column 'history' nor 'user'"):
        fit(search, rows.select("query", "item"))
    strange = rows.with_columns(item=pl.lit("no such"))
    with pytest.raises(UserError, match="model of matching does not know"):
        fit(search, strange)


def test_the_command_fits_and_answers(
    bm25_run: Path,
    bm25: MatchPredictor,
    shop: Path,
    model: SequencePredictor,
    tmp_path: Path,
    capsys: Out,
) -> None:
    rows, weight = tmp_path / "rows.parquet", tmp_path / "weight.json"
    choices(bm25, model, 0.6, 8).write_parquet(rows)
    both = [f"model={bm25_run}", f"taste={shop}"]
    assert cli.run(["search", *both, "among=8", "--fit", str(rows), f"to={weight}"]) == 0
    out = capsys.readouterr().out
    kept: dict[str, Any] = json.loads(weight.read_text())
    assert f"weight {kept['weight']:g} over" in out
    assert "(95 %)" in out
    query = bm25.catalogue.items["title"][0]
    assert cli.run(["search", *both, "user=u4", f"weight={weight}", "k=2", query]) == 0
    shown = capsys.readouterr().out
    search = PersonalSearch(bm25, model, kept["weight"], 8)
    for row in search.recommend([query], users=["u4"], k=2).rows(named=True):
        assert row["item"] in shown
        assert f"{row['taste']:.4f}" in shown
    assert cli.run(["search", *both, "history=[i03,i10]", "weight=0.5", "deny=[i00]", query]) == 0
    assert "i00" not in capsys.readouterr().out


def test_misuse_is_told(
    bm25_run: Path, bm25: MatchPredictor, shop: Path, model: SequencePredictor, tmp_path: Path
) -> None:
    both = ["search", f"model={bm25_run}", f"taste={shop}"]
    other = tmp_path / "w.json"
    other.write_text('{"weight": 0.5, "among": 8, "relevance": "a", "taste": "b"}')
    for words, said in (
        ([*both, "user=u4", "x"], "Say weight="),
        ([*both, "weight=0.5", "x"], "Say whose taste"),
        ([*both, "user=u4", "weight=2", "x"], "from 0"),
        ([*both, "user=u4", f"weight={other}", "x"], "another model of relevance"),
        ([*both, "user=[u4,u9]", "weight=0.5", "x"], "say one user"),
        ([*both, "user=u4", "weight=0.5", "k=41", "x"], "the best 40 of a query"),
        (["search", f"model={bm25_run}", "user=u4", "x"], "user needs a model of sequences"),
        (["search", f"model={bm25_run}", "explore=thompson:1", "x"], "take epsilon or softmax"),
        (["search", f"model={bm25_run}", "diversity=mmr:0.3", "x"], "cannot answer diversity()"),
        (["search", f"model={bm25_run}", "calibration=0.5@title", "x"], "history of a user"),
        (["search", f"model={bm25_run}", "where=price < 3", "x"], "no column 'price'"),
        (["search", f"model={bm25_run}", "per=brand:1", "x"], "items=FILE, a table with a column"),
        (["search", f"model={shop}", "x"], "reads no queries"),
        (["search", f"model={bm25_run}", "size=10"], "put a blank before the '='"),
        ([*both, "--fit", "no.csv", "user=u4", "to=w.json"], "has no part in --fit"),
    ):
        with pytest.raises(UserError) as error:
            cli.run(words)
        assert said in str(error.value), (words, str(error.value))
    strange = MatchPredictor(
        bm25.model, bm25.catalogue.items.with_columns(item="x" + pl.col("item"))
    )
    with pytest.raises(UserError, match="no item in common"):
        PersonalSearch(strange, model)
    others = bm25.catalogue.items.with_columns(title="Film" + pl.col("title").reverse().str.head(1))
    with pytest.raises(UserError, match=r"different things alike: item i0\d is 'Film"):
        PersonalSearch(MatchPredictor(bm25.model, others), model)
