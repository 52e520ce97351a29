"""Pipelines of matching through the real command line: candidates, features and ranks by hand from the retrievers' own answers."""

import asyncio
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from cli.processes import read
from omegaconf import OmegaConf

import lightning_rec
from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.matching.audit import audit_earlier
from lightning_rec.data.matching.pairs import prepare_pairs
from lightning_rec.data.matching.splits import ByQuery
from lightning_rec.data.sources.pairs import PairTable
from lightning_rec.errors import LeakError, UserError
from lightning_rec.lab import compare
from lightning_rec.lab.pipelines import Asked, key_of_candidates
from lightning_rec.runs.folder import RunFolder

for library in ("transformers", "bm25s", "Stemmer", "peft"):
    pytest.importorskip(library)
Refused = Callable[..., str]
QUOTAS = {"BM25": 4, "Bi": 6}
RANKER = "ranker=model=lightgbm model.min_rows=2 model.rounds=20 model.patience=20"
ASKED = ["quotas=[4,6]", RANKER, "negatives=0", "held=0.4"]


@pytest.fixture(scope="module")
def overrides(pairs_csv: Path) -> list[str]:
    return [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2", "data.scale=[1,3]", "protocol.val=0.1",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", "batches.batch_size=16", "trainer=cpu", "logger=none",
        "baseline=null",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    overrides: list[str], tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shop")
    bi = ["model=bi_encoder", f"model.encoder={tiny_bert}", "optimizer.lr=0.002", "adapter=lora"]
    made = {"BM25": ["model=bm25"], "Bi": [*bi, "trainer.max_epochs=2"]}
    for name, of in made.items():
        assert cli.run(["train", *overrides, *of, f"run_dir={folder / name}"]) == 0
    return {name: folder / name for name in made}


def piped(runs: dict[str, Path], *arguments: str, to: Path, kept: Path) -> Path:
    named = [f"{name}={path}" for name, path in runs.items()]
    assert cli.run(["pipeline", *named, *arguments, f"stages={kept}", f"to={to}"]) == 0
    return to


@pytest.fixture(scope="module")
def kept(runs: dict[str, Path]) -> Path:
    return runs["BM25"].parent / "stages"


@pytest.fixture(scope="module")
def made(runs: dict[str, Path], kept: Path) -> Path:
    """A pipeline whose retrievers and ranker are gone from where they were."""
    copies = shutil.copytree(runs["BM25"].parent, kept.parent.parent / "copies")
    here = {name: copies / name for name in runs}
    to = piped(here, *ASKED, to=kept.parent.parent / "pipe", kept=copies / "stages")
    shutil.copytree(copies / "stages", kept)
    shutil.rmtree(copies)
    return to


class ByHand:
    """What retrievers say of queries, and the candidates and features that follow, in plain Python."""

    def __init__(self, folders: list[Path], queries: list[str]) -> None:
        self.stem = pytest.importorskip("Stemmer").Stemmer("english").stemWord
        items = RunFolder.open(folders[0]).table("items").sort("code")
        self.items, self.titles = (
            items["item"].to_list(),
            dict(items.select("item", "title").rows()),
        )
        self.scored: list[dict[str, dict[str, float]]] = []
        for folder in folders:
            answer = load_run(folder).recommend(queries, k=len(self.items))
            of: dict[str, dict[str, float]] = {query: {} for query in queries}
            for query, item, score in answer.select("query", "item", "score").iter_rows():
                of[query][item] = score
            self.scored.append(of)

    def words(self, text: str) -> set[str]:
        return {self.stem(word) for word in re.findall(r"\w+", text.lower())}

    def features(self, query: str, item: str) -> tuple[list[float], list[str]]:
        """Features of any item, and who has it among its best."""
        made: list[float] = []
        who = []
        for (name, quota), of in zip(QUOTAS.items(), self.scored, strict=True):
            scores = of[query]
            order = sorted(scores, key=lambda one: (-scores[one], self.items.index(one)))
            values = np.array([*scores.values()], dtype=np.float64)
            own, spread = scores.get(item, values.min()), values.std() or np.inf
            place = min(order.index(item) if item in order else quota, quota) + 1
            made += [(own - values.mean()) / spread, (own - values.max()) / spread, np.log2(place)]
            if place <= quota:
                who.append(name)
        one, other = self.words(query), self.words(self.titles[item])
        both = len(one & other)
        return [*made, len(who), len(one), len(other), both / len(one), both / len(other)], who

    def candidates(self, query: str) -> dict[str, list[float]]:
        told = {item: self.features(query, item) for item in self.items}
        return {item: features for item, (features, who) in told.items() if who}


def judged(pairs: pl.DataFrame) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for term, sku, _, grade in pairs.iter_rows():
        found.setdefault(term, {})[sku] = grade
    return found


def scores_by_hand(pipe: Path, rows: list[list[float]]) -> Any:
    ranker = next((pipe / "parts").glob("model.ranker"))
    fitted: Any = load_run(ranker)
    trees = lightgbm.Booster(model_str=bytes(fitted.model.booster.numpy()).decode())
    statistics = RunFolder.open(ranker).table("statistics")
    mean, deviation = (statistics[name].to_numpy() for name in ("mean", "deviation"))
    scaled = (np.array(rows) - mean) / np.where(deviation == 0, 1, deviation)
    return trees.predict(scaled.astype(np.float32), raw_score=True).astype(np.float32)


def test_ranks_and_recall_of_each_stage_are_those_by_hand(
    runs: dict[str, Path], made: Path, pairs_frame: pl.DataFrame
) -> None:
    tested = RunFolder.open(made).table("test_queries")
    hand = ByHand([*runs.values()], tested["query"].to_list())
    relevant = judged(pairs_frame)
    firsts, gains, found, sizes = [], [], [], []
    for query in tested["query"]:
        told = hand.candidates(query)
        scores = dict(zip(told, scores_by_hand(made, [*told.values()]), strict=True))
        right = [item for item, grade in relevant[query].items() if grade >= 2]
        shares = {item: (grade - 1) / 2 for item, grade in relevant[query].items()}
        reached = {
            item: sum(score >= scores[item] for score in scores.values())
            for item in shares
            if item in scores
        }
        ranks: dict[str, int] = {}
        for item in sorted(reached, key=lambda one: -shares[one]):  # of equal ones the best is last
            ranks[item] = reached[item] - sum(reached[other] == reached[item] for other in ranks)
        firsts.append(min((ranks[item] for item in right if item in ranks), default=None))
        dcg = sum(shares[item] / np.log2(rank + 1) for item, rank in ranks.items() if rank <= 5)
        ideal = sorted(shares.values(), reverse=True)[:5]
        gains.append(dcg / sum(gain / np.log2(place + 2) for place, gain in enumerate(ideal)))
        found += [hand.features(query, item)[1] for item in right]
        sizes += [len(told)] * len(right)
    assert tested["first"].to_list() == firsts
    assert read(made / "metrics.json")["test/ndcg@5"] == pytest.approx(np.mean(gains), abs=1e-6)
    told = read(made / "pipeline.json")
    recall = told["recall"]["test"]
    assert recall["targets"] == len(found) > 60
    for name in QUOTAS:
        assert recall["found"][name] == pytest.approx(np.mean([name in who for who in found]))
        assert recall["only"][name] == pytest.approx(np.mean([who == [name] for who in found]))
    assert recall["any"] == pytest.approx(np.mean([bool(who) for who in found]))
    assert recall["only"]["Bi"] > 0
    assert recall["any"] < 1
    assert recall["candidates"] == pytest.approx(np.mean(sizes))
    assert told["lost"]["not retrieved"] == pytest.approx(1 - recall["any"])
    parts = [told["lost"][name] for name in ("unknown", "not retrieved", "ranked below", "shown")]
    assert sum(parts) == pytest.approx(1)


def test_the_ranker_learns_from_queries_that_no_retriever_was_trained_on(
    made: Path, runs: dict[str, Path], kept: Path, pairs_frame: pl.DataFrame
) -> None:
    (folder,) = kept.glob("candidates-*")
    table = pl.read_parquet(folder / "candidates.parquet")
    before = [next(kept.glob(f"{name}-*")) for name in QUOTAS]
    queries = RunFolder.open(before[0]).table("test_queries")["query"].to_list()
    hand, relevant = ByHand(before, queries), judged(pairs_frame)
    assert not {*queries} & {*RunFolder.open(made).table("test_queries")["query"]}
    assert len(queries) == read(made / "pipeline.json")["audit"]["ranker queries"] == 27
    code = {text: number for number, text in enumerate(dict.fromkeys(pairs_frame["term"]))}
    learnt = 0
    for query in queries:
        told = hand.candidates(query)
        rows = table.filter(pl.col("query") == code[query])
        labels = [int(relevant[query].get(item, 0) >= 2) for item in told]
        learnt += bool(sum(labels))
        assert rows["label"].to_list() == (labels if sum(labels) else [])
        if sum(labels):
            own = rows.select(pl.nth(range(2, len(rows.columns)))).to_numpy()
            np.testing.assert_allclose(own, np.array([*told.values()]), atol=5e-4)
    assert learnt > 20
    cards = [RunFolder.open(path).card for path in before]
    assert {card["protocol"]["earlier"] for card in cards} == {0.4}
    assert {card["split"]["val queries"] for card in cards} == {0}


def test_it_is_a_run_like_any_other(
    runs: dict[str, Path], made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["verify", str(made)]) == 0
    assert cli.run(["evaluate", f"run={made}"]) == 0
    assert "to the last bit" in capfd.readouterr().out
    found = compare({"BM25": runs["BM25"], "pipeline": made}, figures=["test/ndcg@5"])
    assert found.paired["units"].to_list()[-1] == 19
    assert cli.run(["export", f"run={made}", f"to={tmp_path / 'bundle'}"]) == 0
    shutil.copytree(made, tmp_path / "moved")
    queries = ["red lamp", "green chair"]
    answers = [
        model.recommend(queries, k=5)
        for model in (load_run(tmp_path / "moved"), lightning_rec.open_model(tmp_path / "bundle"))
    ]
    assert answers[0].drop("score").equals(answers[1].drop("score"))
    assert answers[0]["score"].to_list() == pytest.approx(answers[1]["score"].to_list(), abs=1e-5)
    scores = load_run(made).score(answers[0].select("query", "item"))["score"]
    assert scores.to_list() == pytest.approx(answers[0]["score"].to_list(), abs=1e-5)
    whole = load_run(made).recommend(["red lamp"], k=10)
    assert 0 < len(whole) <= sum(QUOTAS.values())
    rules = lightning_rec.Rules(deny=whole["item"].head(2).to_list())
    left = load_run(made).recommend(["red lamp"], k=10, rules=rules)
    assert not {*whole["item"].head(2)} & {*left["item"]}
    assert {*left["item"]} - {*whole["item"]}  # others come in their place, from the retrievers
    capfd.readouterr()
    assert cli.run(["search", f"model={tmp_path / 'bundle'}", "red lamp", "k=3"]) == 0
    assert whole["title"][0] in capfd.readouterr().out


def test_it_is_served(made: Path) -> None:
    for needed in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
        pytest.importorskip(needed)
    from serving.servers import Asking

    async def begun() -> Asking:
        return Asking(made)

    with asyncio.Runner() as runner:
        served = runner.run(begun())
        served.run = runner.run
        found = served("/search", {"query": "red lamp", "k": 4}).body["items"]
        runner.run(served.close())
    assert [row["item"] for row in found] == load_run(made).recommend(["red lamp"], k=4)["item"].to_list()  # fmt: skip


def test_stages_that_are_there_are_kept(
    runs: dict[str, Path], made: Path, kept: Path, tmp_path: Path
) -> None:
    stage = shutil.copytree(kept, tmp_path / "stages")
    times = {path: path.stat().st_mtime_ns for path in stage.rglob("weights.safetensors")}
    again = piped(runs, *ASKED, to=tmp_path / "again", kept=stage)
    assert read(again / "metrics.json") == read(made / "metrics.json")
    assert len(times) == 3
    other = piped(runs, "quotas=5", *ASKED[1:], to=tmp_path / "other", kept=stage)
    now = {path: path.stat().st_mtime_ns for path in stage.rglob("weights.safetensors")}
    assert {path: now[path] for path in times} == times
    assert [path.parent.name[:7] for path in now if path not in times] == ["ranker-"]
    assert read(other / "pipeline.json")["quotas"] == {"BM25": 5, "Bi": 5}


def test_a_retriever_that_was_trained_again_is_another(
    overrides: list[str], tmp_path: Path
) -> None:
    run, to, kept = tmp_path / "bm25", tmp_path / "pipe", tmp_path / "stages"
    train = ["train", *overrides, "model=bm25", f"run_dir={run}"]
    assert cli.run(train) == 0
    asked = ["quotas=5", "ranker=none"]
    figures = read(piped({"A": run}, *asked, to=to, kept=kept) / "metrics.json")
    assert read(piped({"A": run}, *asked, to=to, kept=kept) / "metrics.json") == figures
    shutil.rmtree(run)
    assert cli.run([*train, "model.k1=9", "model.b=0"]) == 0
    with pytest.raises(UserError, match="was made of A as trained before, which is another run"):
        cli.run(["pipeline", f"A={run}", *asked, f"to={to}", f"stages={kept}"])
    assert read(to / "metrics.json") == figures


def test_kept_candidates_are_of_the_settings_of_a_retriever_too(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    """A language model as it comes has the same weights however many tokens it reads."""
    short = shutil.copytree(runs["Bi"], tmp_path / "Bi")
    cfg = RunFolder.open(short).config
    cfg.model.max_item_tokens = 5
    (short / "checksums.json").unlink()  # it tells what was changed by hand
    OmegaConf.save(cfg, short / "config.yaml")
    keys = {key_of_candidates({"Bi": path}, {"Bi": 5}, Asked()) for path in (runs["Bi"], short)}
    assert len(keys) == 2
    assert key_of_candidates(runs, {"BM25": 5, "Bi": 5}, Asked()) not in keys


def test_candidates_are_of_the_split_that_is_asked_for(
    overrides: list[str], runs: dict[str, Path], pairs_frame: pl.DataFrame, tmp_path: Path
) -> None:
    """BM25 has the same weights under every split: they do not say whose queries were asked."""
    stage, other = tmp_path / "stages", tmp_path / "other"
    dealt = ["model=bm25", "protocol.seed=5", f"run_dir={other}"]
    assert cli.run(["train", *overrides, *dealt]) == 0
    code = {text: number for number, text in enumerate(dict.fromkeys(pairs_frame["term"]))}
    for number, (run, held) in enumerate([(runs["BM25"], 0.4), (runs["BM25"], 0.2), (other, 0.4)]):
        asked = [RANKER, "negatives=0", "quotas=4", f"held={held}"]
        made = piped({"BM25": run}, *asked, to=tmp_path / f"{number}", kept=stage)
        told = read(made / "pipeline.json")
        table = Path(str(RunFolder.open(Path(told["ranker"]["run"])).config.data.path))
        learnt = {*pl.read_parquet(table)["query"]}
        dealt_to_ranker, tested = (
            {code[query] for query in RunFolder.open(path).table("test_queries")["query"]}
            for path in (Path(told["stages"]["BM25"]), made)
        )
        assert learnt
        assert learnt <= dealt_to_ranker
        assert not learnt & tested
    assert len([*stage.glob("candidates-*")]) == 3


def test_without_a_ranker_ranks_are_fused(runs: dict[str, Path], tmp_path: Path) -> None:
    fused = piped(runs, ASKED[0], "ranker=none", to=tmp_path / "fused", kept=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    query = "red lamp"
    hand = ByHand([*runs.values()], [query])
    expected = {}
    for item, of in hand.candidates(query).items():
        places = [round(2 ** of[3 * number + 2]) for number in range(2)]
        pairs = zip(places, QUOTAS.values(), strict=True)
        expected[item] = sum(1 / (60 + place) for place, quota in pairs if place <= quota)
    answer = load_run(fused).recommend([query], k=10)
    assert dict(answer.select("item", "score").iter_rows()) == pytest.approx(expected, abs=1e-6)
    assert answer["score"].is_sorted(descending=True)


def test_a_retriever_that_knows_the_rankers_queries_is_found(
    runs: dict[str, Path], made: Path, kept: Path, refused: Refused, tmp_path: Path
) -> None:
    """The run that is trained on everything stands where the earlier one should."""
    stage = shutil.copytree(kept, tmp_path / "stages")
    (earlier,) = stage.glob("Bi-*")
    (candidates,) = stage.glob("candidates-*")
    shutil.rmtree(candidates)
    shutil.rmtree(earlier)
    shutil.copytree(runs["Bi"], earlier)
    named = [f"{name}={path}" for name, path in runs.items()]
    said = [*named, *ASKED, f"stages={stage}", f"to={tmp_path / 'made'}"]
    assert "holds another run" in refused("pipeline", *said)
    shutil.rmtree(earlier)
    shutil.copytree(next(kept.glob("Bi-*")), earlier)
    hash_of_all = RunFolder.open(runs["Bi"]).card["protocol_hash"]
    RunFolder.open(earlier).note(protocol_hash=hash_of_all)
    assert "protocol_hash of" in refused("pipeline", *said)


def test_a_leak_between_the_splits_is_found(pairs_csv: Path, tmp_path: Path) -> None:
    source = PairTable(str(pairs_csv), "term", "name", "sku", "grade", 2, (1, 3))
    pairs = prepare_pairs(source, tmp_path)
    protocol = ByQuery(val=0.1, test=0.2, cutoffs=(1, 5))
    whole, before = protocol.assign(pairs), replace(protocol, earlier=0.4).assign(pairs)
    assert audit_earlier(whole, before) == {"ranker queries": 27, "retriever queries": 40}
    assert {*before.train, *before.test} == {*whole.train}
    for planted, told in (
        (
            {"test": np.append(before.test, whole.test[:1])},
            "query of the ranker is one of the test",
        ),
        ({"test": np.append(before.test, whole.val[:1])}, "ranker is one of validation"),
        ({"train": np.append(before.train, before.test[:1])}, "trained on a query of the ranker"),
        ({"train": np.append(before.train, whole.test[:1])}, "trained on a query of the test"),
        ({"train": np.append(before.train, whole.val[:1])}, "trained on a query of validation"),
    ):
        with pytest.raises(LeakError, match=told):
            audit_earlier(whole, replace(before, **planted))


def test_the_hash_of_a_protocol_is_what_it_was() -> None:
    """That of experiments/search, which was recorded before queries could be dealt once more."""
    assert ByQuery().hash().startswith("87fe141a7c87eb10")
    assert ByQuery(earlier=0.2).hash() != ByQuery(earlier=0.3).hash() != ByQuery().hash()


def test_what_cannot_be_asked_is_refused(
    runs: dict[str, Path], overrides: list[str], tiny_bert: Path, refused: Refused, tmp_path: Path
) -> None:
    where = [f"stages={tmp_path / 'stages'}", f"to={tmp_path / 'new'}"]
    bm25 = str(runs["BM25"])
    assert "must be between 0 and 1" in refused("pipeline", bm25, "held=1", *where)
    cross = ["model=cross_encoder", f"model.encoder={tiny_bert}", "adapter=frozen"]
    short = ["trainer.max_epochs=1", "task.ranked=[]", f"run_dir={tmp_path / 'cross'}"]
    assert cli.run(["train", *overrides, *cross, *short]) == 0
    assert "ranks no catalogue" in refused("pipeline", bm25, str(tmp_path / "cross"), *where)
    assert not (tmp_path / "new").exists()
