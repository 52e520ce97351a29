"""What every model of matching inherits. Models are found by their YAML; a new one needs no test."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from shipped import models_of, said
from torch import nn

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.batches import MatchData
from lightning_rec.data.matching.pairs import Pairs, prepare_pairs
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.sources.pairs import PairTable
from lightning_rec.models.text.matcher import FittedToTexts, TextScorer
from lightning_rec.problems.matching import Matching
from lightning_rec.retrieval.exact import Pairs as Asked
from lightning_rec.retrieval.texts import make_retriever
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.mining import RandomNegatives

for library in ("transformers", "bm25s", "Stemmer", "peft"):
    pytest.importorskip(library)
MODELS = models_of("match")
LEARNERS = [name for name in MODELS if "override /loss" in str(said("model", name)["defaults"])]


@pytest.fixture(scope="session")
def pairs(pairs_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    source = PairTable(
        str(pairs_csv), "term", "name", "sku", "grade", positive_from=2.5, scale=(1.0, 3.0)
    )
    return prepare_pairs(source, tmp_path_factory.mktemp("matching"))


@pytest.fixture
def loaded(pairs: Pairs) -> Audited[Matches]:
    """Eight queries that are trained on and asked for."""
    some = np.arange(0, pairs.num_queries, 12)
    return Audited("pairs", "", Matches(pairs, some, some, some), {}, {}, True)


def composed(name: str, language: Path, *overrides: str) -> DictConfig:
    given = [f"model={name}", "protocol.cutoffs=[1,5,10]", *overrides]
    if "encoder" in said("model", name):
        given.append(f"model.encoder={language}")
    return config.compose(given)


def made(name: str, language: Path, loaded: Audited[Matches], seed: int = 0) -> TextScorer:
    """The model in evaluation mode, fitted if it is fitted."""
    problem = problem_of(composed(name, language))
    assert isinstance(problem, Matching)
    torch.manual_seed(seed)
    model = problem.make_model()
    assert isinstance(model, TextScorer)
    titles = loaded.data.pairs.items["title"].to_list()
    for part in model.modules():
        if isinstance(part, FittedToTexts):
            part.fit(titles)
    return model.eval()


def finder(model: TextScorer, loaded: Audited[Matches]) -> Any:
    pairs = loaded.data.pairs
    queries, items = pairs.queries["query"].to_list(), pairs.items["title"].to_list()
    return make_retriever(model, queries, items, cache_dir())


def trained(
    name: str, language: Path, loaded: Audited[Matches], steps: int, seed: int = 0, *overrides: str
) -> tuple[pl.Trainer, Task, MatchData]:
    """The model after some steps through the task."""
    cfg = composed(name, language, "task.ranked=[val,test]", "batches.batch_size=24", *overrides)
    cfg.seed, cfg.optimizer.lr = seed, 0.003
    problem = problem_of(cfg)
    pl.seed_everything(seed, verbose=False)
    data = problem.make_data(loaded)
    task = problem.make_task(loaded, data)
    task.make_schedule = lambda optimizer, steps, per_epoch: torch.optim.lr_scheduler.ConstantLR(
        optimizer, 1.0
    )
    for module in task.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    trainer = pl.Trainer(
        max_steps=steps, max_epochs=-1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, check_val_every_n_epoch=10_000, use_distributed_sampler=False,
    )  # fmt: skip
    if task.trains:
        trainer.fit(task, DataModule(data))
    return trainer, task, data  # type: ignore[return-value]


def test_there_are_models() -> None:
    assert {"bm25", "bi_encoder", "cross_encoder"} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_knob_is_typed_and_in_the_yaml(name: str) -> None:
    kind = config.target("model", config.plain(config.compose([f"model={name}"]).model))
    parameters = inspect.signature(kind).parameters
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters.values())
    assert kind.__doc__
    assert inspect.getmodule(kind).__doc__


@pytest.mark.parametrize("name", MODELS)
def test_pairs_and_catalogue_agree(name: str, tiny_bert: Path, loaded: Audited[Matches]) -> None:
    find = finder(made(name, tiny_bert, loaded), loaded)
    query = torch.tensor([5, 0, 17])
    row = torch.arange(3).repeat_interleave(48)
    item = torch.arange(48).repeat(3)
    found = find.top(query, 10, Asked(row, item))
    with torch.no_grad():
        pairs = find.model.pairs(find.texts, query[row], item)
    torch.testing.assert_close(found.score, pairs, atol=1e-5, rtol=1e-4)
    for place in range(3):
        items = found.items[place][found.items[place] >= 0]
        ranks = found.rank[48 * place :][items].tolist()
        assert ranks == sorted(ranks)
        assert found.scores[place][: len(items)].diff().le(0).all()


@pytest.mark.parametrize("name", MODELS)
def test_its_state_survives_a_round_trip(
    name: str, tiny_bert: Path, loaded: Audited[Matches], tmp_path: Path
) -> None:
    model = made(name, tiny_bert, loaded, seed=1)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    problem = problem_of(composed(name, tiny_bert))
    other = problem.make_model().eval()  # type: ignore[attr-defined]
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    first, second = (finder(each, loaded).top(torch.arange(8), 10) for each in (model, other))
    assert torch.equal(first.items, second.items)
    assert torch.equal(first.scores, second.scores)


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_some_pairs_by_heart(
    name: str, tiny_bert: Path, loaded: Audited[Matches]
) -> None:
    trainer, task, data = trained(name, tiny_bert, loaded, 200)
    trainer.validate(task, DataModule(data), verbose=False)
    trainer.test(task, DataModule(data), verbose=False)
    assert task.figures["test/pairs/auc"] > 0.9
    assert task.figures["test/judged/ndcg@10"] > 0.9
    assert task.figures["test/pairs/rmse"] < 0.6  # of a constant: .69
    assert task.figures["test/ndcg@10"] > 0.5


@pytest.mark.parametrize("name", LEARNERS)
def test_equal_seeds_give_equal_bits(name: str, tiny_bert: Path, loaded: Audited[Matches]) -> None:
    first, again, other = (
        trained(name, tiny_bert, loaded, 3, seed)[1].model.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("loss", ["relevance_mse", "relevance_bce"])
def test_other_losses_are_learnt_too(loss: str, tiny_bert: Path, loaded: Audited[Matches]) -> None:
    overrides = (f"loss={loss}", "model.normalize=false")
    trainer, task, data = trained("bi_encoder", tiny_bert, loaded, 200, 0, *overrides)
    trainer.validate(task, DataModule(data), verbose=False)
    assert task.figures["val/pairs/auc"] > 0.9


@pytest.mark.parametrize("negatives", ["bm25", "self"])
def test_hard_negatives_are_never_relevant(
    negatives: str, tiny_bert: Path, loaded: Audited[Matches]
) -> None:
    overrides = (f"negatives={negatives}", "negatives.number=3", "negatives.depth=8")
    _, task, _ = trained("bi_encoder", tiny_bert, loaded, 4, 0, *overrides)
    assert task.steps.negatives is not None
    assert task.steps.negatives.best is not None
    train, pairs = loaded.data.train, loaded.data.pairs
    best = task.steps.negatives.best[torch.from_numpy(train)]
    assert (best >= 0).sum(dim=1).min() >= 7  # the one relevant item is left out
    assert (task.steps.negatives.best[1] == -1).all()  # no training query
    drawn = task.steps.negatives.draw(torch.from_numpy(train))
    assert drawn.shape == (8, 3)
    keys = set(pairs.keys().tolist())
    for query, row in zip(train.tolist(), drawn.tolist(), strict=True):
        assert len(set(row)) == 3
        assert not {query * pairs.num_items + item for item in row} & keys


def test_what_the_record_keeps_of_each_query(tiny_bert: Path, loaded: Audited[Matches]) -> None:
    trainer, task, data = trained("bm25", tiny_bert, loaded, 0)
    trainer.validate(task, DataModule(data), verbose=False)
    trainer.test(task, DataModule(data), verbose=False)
    problem = problem_of(composed("bm25", tiny_bert))
    tables = problem.tables(task, loaded)
    queries = tables["test_queries"]
    assert len(queries) == 8
    assert queries["judged"].to_list() == [6] * 8
    assert queries["relevant"].to_list() == [1] * 8
    assert queries["ndcg@10"].mean() == pytest.approx(task.figures["test/ndcg@10"])
    assert task.figures["test/judged/ndcg@10"] == pytest.approx(
        1
    )  # words in common are all there is
    assert task.figures["test/mrr"] == 1.0
    assert tables["items"].columns == ["code", "item", "title"]
    assert isinstance(queries, polars.DataFrame)


def test_random_negatives_are_any_but_what_is_relevant(loaded: Audited[Matches]) -> None:
    negatives, pairs = RandomNegatives(loaded.data, True, number=3), loaded.data.pairs
    torch.manual_seed(0)
    query = torch.from_numpy(loaded.data.train).repeat(600)
    drawn = negatives.draw(query)
    assert drawn.shape == (len(query), 3)
    relevant = torch.from_numpy(pairs.keys())
    keys = query[:, None] * pairs.num_items + drawn
    assert not torch.isin(keys[drawn >= 0], relevant).any()
    share = np.bincount(pairs.query[pairs.positive])[loaded.data.train].mean() / pairs.num_items
    assert (drawn < 0).float().mean() == pytest.approx(share, abs=0.01)
    counts = drawn[drawn >= 0].bincount(minlength=pairs.num_items)
    assert counts.min() > 0.7 * counts.float().mean()
