"""Pipelines of matching that a cross-encoder ranks, through the real command line: ranks by hand from transformers itself."""

import asyncio
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file

import lightning_rec
from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.errors import LeakError
from lightning_rec.lab import compare
from lightning_rec.runs import checksums
from lightning_rec.runs.folder import RunFolder

transformers = pytest.importorskip("transformers")
for library in ("bm25s", "Stemmer", "peft"):
    pytest.importorskip(library)
Refused = Callable[..., str]
QUOTAS = {"BM25": 4, "Bi": 6}


@pytest.fixture(scope="module")
def overrides(pairs_csv: Path) -> list[str]:
    return [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2", "data.scale=[1,3]", "protocol.val=0.1",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", "batches.batch_size=16", "trainer=cpu", "logger=none",
        "baseline=null",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def cross(tiny_bert: Path) -> list[str]:
    return ["model=cross_encoder", f"model.encoder={tiny_bert}", "optimizer.lr=0.003"]


@pytest.fixture(scope="module")
def runs(
    overrides: list[str],
    cross: list[str],
    tiny_bert: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("read")
    bi = ["model=bi_encoder", f"model.encoder={tiny_bert}", "adapter=frozen"]
    made = {"BM25": ["model=bm25"], "Bi": bi, "Cross": [*cross, "adapter=lora"]}
    for name, of in made.items():
        assert cli.run(["train", *overrides, *of, f"run_dir={folder / name}"]) == 0
    return {name: folder / name for name in made}


def piped(runs: dict[str, Path], to: Path, ranker: Path | None = None) -> list[str]:
    named = [f"{name}={runs[name]}" for name in QUOTAS]
    kept = f"stages={to.parent / 'stages'}"
    return [*named, "quotas=[4,6]", f"ranker={ranker or runs['Cross']}", f"to={to}", kept]


@pytest.fixture(scope="module")
def made(runs: dict[str, Path]) -> Path:
    """A pipeline whose retrievers and ranker are gone from where they were."""
    copies = shutil.copytree(runs["BM25"].parent, runs["BM25"].parent.parent / "read_copies")
    to = copies.parent / "read_pipe"
    assert cli.run(["pipeline", *piped({name: copies / name for name in runs}, to)]) == 0
    assert not (to.parent / "stages").exists()  # nothing is trained once more
    shutil.rmtree(copies)
    return to


def by_hand(run: Path, encoder: Path, pairs: list[tuple[str, str]]) -> np.ndarray[Any, Any]:
    """What transformers and the weights of a run say of pairs of texts, one by one."""
    weights, settings = load_file(run / "weights.safetensors"), RunFolder.open(run).config.adapter
    model = transformers.AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(encoder)
    state = model.state_dict()
    inner = {key.removeprefix("text.model."): of for key, of in weights.items() if "text.model." in key}  # fmt: skip
    for key in state:
        name, _, kind = key.rpartition(".")
        base = inner.get(key, inner.get(f"{name}.base_layer.{kind}"))
        assert base is not None, key
        low, high = (inner.get(f"{name}.lora_{side}.default.weight") for side in "AB")
        if low is not None and high is not None and kind == "weight":
            base = base + high @ low * (settings.alpha / settings.rank)
        state[key] = base
    model.load_state_dict(state)
    scores = []
    for query, title in pairs:
        one = tokens(query, title, return_tensors="pt", return_token_type_ids=True)
        with torch.no_grad():
            hidden = model(**one).last_hidden_state[0].mean(dim=0)
        scores.append(float(hidden @ weights["head.weight"][0] + weights["head.bias"][0]))
    return np.array(scores)


def candidates(runs: dict[str, Path], queries: list[str]) -> dict[str, dict[str, str]]:
    """Titles by item, of each query."""
    found: dict[str, dict[str, str]] = {query: {} for query in queries}
    for name, quota in QUOTAS.items():
        answer = load_run(runs[name]).recommend(queries, k=quota)
        for query, item, title in answer.select("query", "item", "title").iter_rows():
            found[query][item] = title
    return found


def test_candidates_of_all_are_ranked_by_what_the_cross_encoder_reads(
    runs: dict[str, Path], made: Path, tiny_bert: Path, pairs_frame: pl.DataFrame
) -> None:
    tested = RunFolder.open(made).table("test_queries")
    firsts: list[int | None] = []
    by_query = candidates(runs, tested["query"].to_list())
    for query, told in by_query.items():
        pairs = [(query, title) for title in told.values()]
        scores = dict(zip(told, by_hand(runs["Cross"], tiny_bert, pairs), strict=True))
        mine = pairs_frame.filter(pl.col("term") == query, pl.col("grade") >= 2)["sku"]
        right = [scores[item] for item in mine if item in scores]
        best = max(right, default=np.inf) - 1e-6  # what reads alike has one score
        reached, tied = (sum(each >= best for each in some) for some in (scores.values(), right))
        firsts.append(reached - tied + 1 if right else None)
    assert tested["first"].to_list() == firsts
    assert len({*firsts}) > 3
    expected = np.mean([0 if rank is None else 1 / rank for rank in firsts])
    assert read(made / "metrics.json")["test/mrr"] == pytest.approx(expected, abs=1e-6)
    query = tested["query"][0]
    answer = load_run(made).recommend([query], k=10)
    assert {*answer["item"]} == {*by_query[query]}
    by = by_hand(runs["Cross"], tiny_bert, [(query, title) for title in answer["title"]])
    assert answer["score"].to_list() == pytest.approx(by.tolist(), abs=1e-5)
    assert answer["score"].is_sorted(descending=True)


def test_its_stages_are_told_and_nothing_was_trained_again(
    runs: dict[str, Path], made: Path
) -> None:
    told = read(made / "pipeline.json")
    assert told["ranker"]["figures"] == read(runs["Cross"] / "metrics.json")
    assert {"stages", "before", "audit"}.isdisjoint(told)
    assert told["recall"]["test"]["found"].keys() == QUOTAS.keys()
    assert math.isclose(sum(value for key, value in told["lost"].items() if key != "k"), 1)
    learnt = RunFolder.open(runs["Cross"]).table("trained")["query"].n_unique()
    assert RunFolder.open(made).card["audit"]["queries that the ranker has learnt"] == learnt > 40


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
    rules = lightning_rec.Rules(deny=answers[0]["item"].head(2).to_list())
    left = load_run(made).recommend(["red lamp"], k=10, rules=rules)
    assert not {*answers[0]["item"].head(2)} & {*left["item"]}
    capfd.readouterr()
    assert cli.run(["search", f"model={tmp_path / 'bundle'}", "red lamp", "k=3"]) == 0
    assert answers[0]["title"][0] in capfd.readouterr().out


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


def test_a_cross_encoder_that_knows_what_is_tested_is_found(
    overrides: list[str],
    cross: list[str],
    runs: dict[str, Path],
    refused: Refused,
    tmp_path: Path,
) -> None:
    """Trained under another split; then with a card that says it was trained under this one."""
    other = tmp_path / "other"
    dealt = [*cross, "adapter=frozen", "trainer.max_epochs=1", "task.ranked=[]", "protocol.seed=5"]
    assert cli.run(["train", *overrides, *dealt, f"run_dir={other}"]) == 0
    asked = piped(runs, tmp_path / "new", other)
    assert "not all of the same protocol" in refused("pipeline", *asked)
    RunFolder.open(other).note(protocol_hash=RunFolder.open(runs["Cross"]).card["protocol_hash"])
    with pytest.raises(LeakError, match=r"ranker is trained on a query of (validation|the test)"):
        cli.run(["pipeline", *asked])
    with_one = shutil.copytree(runs["Cross"], tmp_path / "one")
    table = pl.read_parquet(with_one / "trained.parquet")
    tested = RunFolder.open(runs["Cross"]).table("test_queries")["query"][0]
    planted = table.with_columns(
        query=pl.when(pl.int_range(pl.len()) == 3)
        .then(pl.lit(tested.upper()))
        .otherwise(pl.col("query"))
    )
    planted.write_parquet(with_one / "trained.parquet")
    checksums.record(with_one, with_one / "trained.parquet", "trained.parquet")
    with pytest.raises(LeakError, match="1 queries, such as"):
        cli.run(["pipeline", *piped(runs, tmp_path / "third", with_one)])


def test_what_cannot_rank_is_refused(
    runs: dict[str, Path], refused: Refused, tmp_path: Path
) -> None:
    told = refused("pipeline", *piped(runs, tmp_path / "new", runs["Bi"]))
    assert "is a run of BiEncoder: a run that ranks is one of a cross-encoder" in told
    told = refused("pipeline", *piped(runs, tmp_path / "new", tmp_path / "nothing"))
    assert "the folder of a run of a cross-encoder" in told
    silent = shutil.copytree(runs["Cross"], tmp_path / "silent")
    (silent / "trained.parquet").unlink()
    checksums.forget(silent, "trained.parquet")
    told = refused("pipeline", *piped(runs, tmp_path / "new", silent))
    assert "does not say what it was trained on" in told
    assert not (tmp_path / "new").exists()
