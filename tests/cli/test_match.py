"""Matching through the real command line: trained, found again, searched, and refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from cli.processes import command, read
from omegaconf import OmegaConf

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.data.sources.home_depot import HOME_DEPOT
from lightning_rec.errors import UserError
from lightning_rec.language.augment.texts import Augmented
from lightning_rec.language.tokens import Tokens
from lightning_rec.runs import checksums

for library in ("transformers", "bm25s", "Stemmer", "peft"):
    pytest.importorskip(library)
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def pairs(pairs_csv: Path, tiny_bert: Path) -> list[str]:
    """Overrides of a run on the synthetic pairs that takes a second."""
    return [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.val=0.1",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", "batches.batch_size=16", "batches.eval_batch_size=8",
        "trainer.accelerator=cpu", "logger=csv",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def bi_encoder(pairs: list[str], tiny_bert: Path) -> list[str]:
    return [*pairs, "model=bi_encoder", f"model.encoder={tiny_bert}", "optimizer.lr=0.002"]


@pytest.fixture(scope="module")
def cross_encoder(pairs: list[str], tiny_bert: Path) -> list[str]:
    return [*pairs, "model=cross_encoder", f"model.encoder={tiny_bert}", "model.rerank=12"]


@pytest.fixture(scope="module")
def run(bi_encoder: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One completed run, shared: tests only read it."""
    folder = tmp_path_factory.mktemp("match_run") / "shared"
    longer = ["trainer.max_epochs=4", "adapter=lora", "logger=[wandb,csv]"]
    assert cli.run(["train", *bi_encoder, *longer, f"run_dir={folder}"]) == 0
    return folder


def test_the_run_folder_holds_everything(run: Path) -> None:
    card, metrics = read(run / "run.json"), read(run / "metrics.json")
    assert card["status"] == "completed"
    assert card["split"]["train queries"] == 67
    assert card["split"]["test pairs"] == 114
    assert card["audit"]["test rate"] == pytest.approx(1 / 6, abs=1e-3)
    assert card["protocol"]["name"] == "by_query"
    assert 0 < card["cost"]["trained_parameters"] < 2000
    for name in (
        "ndcg@10",
        "recall@5",
        "mrr",
        "judged/ndcg@10",
        "pairs/auc",
        "pairs/rmse",
        "pairs/f1",
    ):
        assert 0 <= metrics[f"test/{name}"] <= 1.5, name
    assert "val/ndcg@10" not in metrics
    assert metrics["val/judged/ndcg@10"] > 0
    assert metrics["bm25/test/judged/ndcg@10"] == pytest.approx(1)
    assert metrics["test/words_1_2/examples"] == 19
    assert metrics["test/pairs/threshold"] == metrics["val/pairs/threshold"]
    queries = pl.read_parquet(run / "test_queries.parquet")
    assert queries.columns[:3] == ["query", "judged", "relevant"]
    assert queries["mrr"].mean() == pytest.approx(metrics["test/mrr"])
    assert len(pl.read_parquet(run / "items.parquet")) == 48
    assert (run / "adapter.safetensors").exists()


def test_the_same_figures_come_out_of_the_weights(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["evaluate", f"run={run}"]) == 0
    out = capfd.readouterr().out
    assert "to the last bit" in out
    assert "judged/ndcg@10" in out


def test_a_run_is_searched(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["search", f"run={run}", "red lamp", "жёлтый [b]", "k=3"]) == 0
    out = capfd.readouterr().out
    assert "red lamp" in out
    assert "жёлтый [b]" in out
    assert out.count("lamp") + out.count("chair") + out.count("door") > 1
    assert cli.run(["search", "--help"]) == 0
    assert "angle bracket" in capfd.readouterr().out


def test_bm25_is_searched_and_finds_nothing_for_strange_words(
    pairs: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["train", *pairs, "model=bm25", f"run_dir={tmp_path / 'r'}"]) == 0
    metrics = read(tmp_path / "r/metrics.json")
    assert metrics["test/mrr"] == 1
    assert metrics["test/judged/ndcg@10"] == pytest.approx(1)
    capfd.readouterr()
    assert cli.run(["search", f"run={tmp_path / 'r'}", "red lamp", "жёлтый"]) == 0
    out = capfd.readouterr().out
    best = next(line.split() for line in out.splitlines() if line.split()[:1] == ["1"])
    assert best[2:5] == ["red", "green", "lamp"]
    assert "жёлтый: nothing was found." in out
    assert cli.run(["search", f"run={tmp_path / 'r'}", "!!!"]) == 0
    assert "!!!: nothing was found." in capfd.readouterr().out
    assert cli.run(["evaluate", f"run={tmp_path / 'r'}"]) == 0


def test_a_cross_encoder_re_ranks_bm25_or_a_run(
    run: Path,
    cross_encoder: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bm25").mkdir()  # is no run: the name means the model
    for name, first in (("words", "bm25"), ("vectors", str(run))):
        folder = tmp_path / name
        settings = [f"model.first={first}", "adapter=lora", f"run_dir={folder}"]
        assert cli.run(["train", *cross_encoder, *settings]) == 0
        assert cli.run(["evaluate", f"run={folder}"]) == 0
        capfd.readouterr()
        assert cli.run(["search", f"run={folder}", "soft door", "k=12"]) == 0
        assert "soft" in capfd.readouterr().out
    moved = run.rename(run.with_name("moved"))  # its copy is in the run that re-ranks
    try:
        assert cli.run(["evaluate", f"run={tmp_path / 'vectors'}"]) == 0
        assert len(load_run(tmp_path / "vectors").recommend(["soft door"], 3)) == 3
    finally:
        moved.rename(run)
    metrics = read(tmp_path / "words/metrics.json")
    # What has both words is among the twelve that BM25 finds.
    assert metrics["test/recall@10"] > 0
    assert metrics["test/mrr"] > 1 / 13


def test_without_training_it_is_measured_as_it_comes(bi_encoder: list[str], tmp_path: Path) -> None:
    for name, how in (("frozen", "adapter=frozen"), ("none", "trainer.max_epochs=0")):
        assert cli.run(["train", *bi_encoder, how, f"run_dir={tmp_path / name}"]) == 0
    frozen, none = (read(tmp_path / name / "metrics.json") for name in ("frozen", "none"))
    own = [name for name in frozen if not name.startswith("bm25/")]
    assert all(frozen[name] == pytest.approx(none[name], abs=1e-6) for name in own)


@pytest.mark.parametrize(
    "adapter", ["top_layers", "bottleneck", "bitfit", "adalora", "ia3", "prefix", "prompt"]
)
def test_it_is_tuned_by_any_adapter(bi_encoder: list[str], adapter: str, tmp_path: Path) -> None:
    targets = ["adapter.targets=[output.dense]"] if adapter == "bottleneck" else []
    arguments = [*bi_encoder, f"adapter={adapter}", *targets, f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *arguments]) == 0
    assert cli.run(["evaluate", f"run={tmp_path / 'r'}"]) == 0


def test_two_processes_give_the_figures_of_one(bi_encoder: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "ddp"
    done = command(
        "train", *bi_encoder, "trainer=ddp", "trainer.accelerator=cpu", f"run_dir={folder}"
    )
    assert done.returncode == 0, done.stderr
    again = ("trainer.devices=1", "trainer.strategy=auto")
    assert cli.run(["evaluate", f"run={folder}", *again]) == 0


@pytest.mark.parametrize(
    "drawn", [[], ["negatives=bm25"], ["negatives=self"], ["augment=words", "negatives=bm25"]]
)
def test_resume_equals_an_unbroken_run(
    bi_encoder: list[str], drawn: list[str], tmp_path: Path
) -> None:
    kept = [*bi_encoder, *drawn, "schedule.decay=none", "schedule.warmup=0"]
    for name, epochs in (("whole", 4), ("broken", 2)):
        cli.run(["train", *kept, f"trainer.max_epochs={epochs}", f"run_dir={tmp_path / name}"])
    cli.run(["train", f"resume={tmp_path / 'broken'}", "trainer.max_epochs=4"])
    whole, broken = (read(tmp_path / name / "metrics.json") for name in ("whole", "broken"))
    assert whole == broken


@pytest.mark.parametrize("model", ["bi_encoder", "cross_encoder"])
def test_texts_are_changed_in_training_alone(
    model: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [*request.getfixturevalue(model), "trainer.max_epochs=1"]
    taken: list[bool] = []

    def take(self: Augmented, which: np.ndarray) -> Tokens:
        taken.append(torch.is_grad_enabled())  # as in no evaluation
        return whole(self, which)

    whole = Augmented.take
    monkeypatch.setattr(Augmented, "take", take)
    for name, more in {
        "plain": [],
        "changed": ["augment=words"],
        "queries": ["augment=words", "augment.texts=[queries]"],
    }.items():
        taken.clear()
        assert cli.run(["train", *kept, *more, f"run_dir={tmp_path / name}"]) == 0
        assert all(taken)
        assert bool(taken) == (name != "plain")
    figures = [read(tmp_path / name / "metrics.json") for name in ("plain", "changed", "queries")]
    assert len({each["val/pairs/auc"] for each in figures}) == 3
    assert cli.run(["evaluate", f"run={tmp_path / 'changed'}"]) == 0


def test_a_sweep_over_models_ends_in_one_table(
    pairs: list[str], tiny_minilm: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = [each for each in pairs if not each.startswith("logger")]
    sweep = ["-m", "model=bm25,bi_encoder,cross_encoder", "baseline=null", "logger=none"]
    start = ["experiment=search_home_depot", f"run_dir={tmp_path}"]
    assert cli.run(["train", *start, *kept, *sweep]) == 0
    (table,) = read(tmp_path / "sweep.json")["tables"]
    assert len(table["rows"]) == 3
    assert all("test/pairs/rmse" in row["figures"] for row in table["rows"])
    assert "Best val/judged/ndcg@10 first" in capfd.readouterr().out


def test_pairs_without_judgements(
    bi_encoder: list[str], refused: Refused, pairs_frame: pl.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "clicked.parquet"
    pairs_frame.filter(pl.col("grade") == 3).write_parquet(path)
    named = ("data.path", "data.relevance", "data.positive_from", "data.scale")
    kept = [each for each in bi_encoder if not each.startswith(named)]
    kept += [f"data.path={path}", f"run_dir={tmp_path / 'r'}"]
    assert "says nothing" in refused("train", *kept)
    assert "data.relevance is not set" in refused("train", *kept, "loss=relevance_bce")
    wanted = ["task.ranked=[val,test]", "monitor=val/ndcg@10"]
    assert cli.run(["train", *kept, *wanted]) == 0
    metrics = read(tmp_path / "r/metrics.json")
    assert metrics["val/ndcg@10"] >= 0
    assert "test/pairs/auc" not in metrics


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.encoder=/nowhere/at/all"], "no folder, and the Hugging Face hub"),
        (
            ["model.max_item_tokens=100"],
            "model.max_item_tokens=100: the language model reads 64 tokens at most",
        ),
        (["~loss"], "BiEncoder is trained by gradient steps and needs a loss"),
        (["loss=full_softmax"], "FullSoftmax is a loss of sequences"),
        (["negatives=bm25", "negatives.number=9", "negatives.depth=3"], "number=9"),
        (["monitor=val/ndcg@10"], "monitor=val/ndcg@10 is no figure of validation"),
        (["protocol=leave_one_out"], "LeaveOneOut splits histories"),
        (["protocol.cutoffs=[10,100]"], "has only 48 items"),
        (["objective=next_item"], "takes no objective"),
        (["task=sequence"], "BiEncoder is a model of matching"),
        (["task.ranked=[train]"], "task.ranked"),
        (["adapter=lora", "adapter.targets=[quary]"], "Did you mean 'query'?"),
        (["data.query=trem"], "Did you mean 'term'?"),
        (["data.relevance=name"], "is no number"),
        (["baseline.stemmer=klingon"], "klingon"),
        (["loss.temperature=0"], "loss.temperature=0"),
        (
            ["loss=relevance_bce"],
            "needs logits as scores",
        ),
        (["data.positive_from=4"], "to train on is relevant: lower data.positive_from"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    bi_encoder: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in bi_encoder if each.partition("=")[0] not in names]
    if names & {"protocol", "task"}:
        kept = [each for each in kept if not each.startswith("protocol.")]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_a_first_stage_that_will_not_do(
    run: Path, cross_encoder: list[str], refused: Refused, small: list[str], tmp_path: Path
) -> None:
    there = f"run_dir={tmp_path / 'r'}"
    assert "There is no folder" in refused("train", *cross_encoder, "model.first=nowhere", there)
    told = refused("train", *cross_encoder, "loss=info_nce", there)
    assert "InfoNCE compares vectors" in told
    other = [*cross_encoder, f"model.first={run}", "protocol.seed=5", there]
    told = refused("train", *other)
    assert told.startswith(f"model.first={run} has another protocol_hash")
    cli.run(["train", *small, f"run_dir={tmp_path / 'sequence'}"])
    told = refused("train", *cross_encoder, f"model.first={tmp_path / 'sequence'}", there)
    assert "is a run of BERT4Rec, which ranks no catalogue" in told


def test_a_search_that_cannot_be(
    run: Path, small: list[str], refused: Refused, tmp_path: Path
) -> None:
    assert "Say which run" in refused("search", "red lamp")
    assert "Say what is looked for" in refused("search", f"run={run}")
    assert "A query is empty" in refused("search", f"run={run}", "red lamp", "  ")
    assert "from 1 to 48 items" in refused("search", f"run={run}", "red lamp", "k=49")
    assert "from 1 to 48 items" in refused("search", f"run={run}", "red lamp", "k=0")
    assert "must be a whole number" in refused("search", f"run={run}", "red lamp", "k=all")
    assert "topk= is no key" in refused("search", f"run={run}", "red lamp", "topk=3")
    assert "There is no folder" in refused("search", f"run={tmp_path / 'no'}", "red lamp")
    assert "not a run folder" in refused("search", f"run={tmp_path}", "red lamp")
    cli.run(["train", *small, f"run_dir={tmp_path / 'sequence'}"])
    told = refused("search", f"run={tmp_path / 'sequence'}", "red lamp")
    assert "run of model=BERT4Rec, which reads no queries" in told
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.yaml", "items.parquet"):
        (broken / name).write_bytes((run / name).read_bytes())
    (broken / "run.json").write_text(json.dumps(read(run / "run.json") | {"status": "failed"}))
    assert "is failed, not completed" in refused("search", f"run={broken}", "red lamp")
    (broken / "run.json").write_bytes((run / "run.json").read_bytes())
    assert "weights.safetensors is missing" in refused("search", f"run={broken}", "red lamp")


@pytest.mark.parametrize("model", ["bm25", "bi_encoder", "cross_encoder"])
def test_a_run_answers_as_its_test_ranked(
    model: str, pairs: list[str], tiny_bert: Path, pairs_csv: Path, tmp_path: Path
) -> None:
    text = [] if model == "bm25" else [f"model.encoder={tiny_bert}"]
    text += ["model.rerank=48"] if model == "cross_encoder" else []
    folder = tmp_path / "run"
    arguments = [*pairs, f"model={model}", *text, "trainer.max_epochs=1", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    predictor = load_run(folder)
    tested = pl.read_parquet(folder / "test_queries.parquet").filter(pl.col("relevant") > 0)
    found = predictor.recommend(tested["query"].to_list(), k=10)
    assert found.columns == ["query", "rank", "item", "title", "score"]
    judged = pl.read_csv(pairs_csv).select(
        query="term", item=pl.col("sku").cast(pl.String), grade="grade"
    )
    relevant = judged.filter(pl.col("grade") >= 2.5)
    hits = (
        found.join(relevant, on=["query", "item"]).group_by("query").agg(first=pl.col("rank").min())
    )
    ranks = tested.filter(pl.col("first").is_between(1, 10)).select("query", "first")
    both = ranks.join(hits, on="query", how="full", suffix="_found").sort("query")
    assert len(both)
    assert both["first"].to_list() == both["first_found"].to_list()
    again = predictor.score(found.drop("score"))
    np.testing.assert_allclose(again["score"], found["score"], atol=1e-4)
    assert predictor.score({"query": ["red lamp"], "item": ["none"]})["score"].to_list() == [None]
    assert predictor.score(found.drop("score").clear()).is_empty()
    if model != "bi_encoder":
        with pytest.raises(UserError, match=r"cannot answer item_vectors\(\)"):
            predictor.item_vectors()
        return
    items, queries = predictor.item_vectors(), predictor.user_vectors(["red lamp"])
    products = queries["vector"].to_numpy() @ items["vector"].to_numpy().T
    best = predictor.recommend(["red lamp"], k=1)
    assert items["item"][int(products[0].argmax())] == best["item"][0]
    near = predictor.similar([items["item"][0]], k=3)
    assert near.columns == ["item", "rank", "similar", "title", "score"]
    assert near["score"].is_sorted(descending=True)


def test_a_query_of_a_hundred_thousand_characters(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["search", f"run={run}", "lamp " * 20_000, "k=2"]) == 0
    assert len(capfd.readouterr().out) < 5_000


def test_the_figures_of_pairs_that_are_prepared(
    pairs_csv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    columns = ["query=term", "title=name", "item=sku", "relevance=grade", "positive_from=2.5"]
    assert cli.run(["data", "name=pairs", f"path={pairs_csv}", *columns]) == 0
    out = capfd.readouterr().out
    assert "576" in out
    assert "16.67%" in out


@pytest.mark.real
def test_home_depot_by_words(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if HOME_DEPOT.here() is None:
        pytest.skip("Home Depot is not here")
    folder = tmp_path / "bm25"
    arguments = ["experiment=search_home_depot", "model=bm25", "logger=none", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    metrics = read(folder / "metrics.json")
    assert metrics["test/ndcg@10"] == pytest.approx(0.342, abs=0.001)
    assert metrics["test/pairs/rmse"] == pytest.approx(0.519, abs=0.001)
    capfd.readouterr()
    assert cli.run(["search", f"run={folder}", "angle bracket"]) == 0
    assert "Angle Bracket" in capfd.readouterr().out


def test_a_run_is_asked_by_a_language_model_that_has_moved(
    run: Path, tiny_bert: Path, tiny_gpt: Path, tmp_path: Path
) -> None:
    """What lies where its config alone names one is not quoted."""
    told = load_run(run).recommend(["red lamp"], k=3)
    folder, private = shutil.copytree(run, tmp_path / "sent"), tmp_path / "private"
    private.mkdir()
    (private / "config.json").write_text('{"model_type": "hunter2"}')
    (private / "vocab.txt").write_text("hunter2")
    (folder / checksums.NAME).unlink()
    for place, said in (
        ("gone", r"it has moved, say .*model\.encoder=FOLDER"),
        ("private", "name"),
    ):
        cfg = OmegaConf.load(folder / "config.yaml")
        cfg.model.encoder = str(tmp_path / place)
        OmegaConf.save(cfg, folder / "config.yaml")
        with pytest.raises(UserError, match=said) as caught:
            load_run(folder)
        assert "hunter2" not in str(caught.value)
    assert f"name them yourself: model.encoder={private}" in str(caught.value)
    with pytest.raises(UserError, match="hunter2"):
        load_run(folder, f"model.encoder={private}")
    with pytest.raises(UserError, match="was made with another language model"):
        load_run(folder, f"model.encoder={tiny_gpt}")
    moved = load_run(folder, f"model.encoder={shutil.copytree(tiny_bert, tmp_path / 'moved')}")
    assert moved.recommend(["red lamp"], k=3).equals(told)
