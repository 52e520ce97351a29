"""What every model inherits. Models are found by their YAML; a new one needs no test of its own."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from shipped import models_of, said
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.batches import SequenceData
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.pipeline import SplitLog
from lightning_rec.data.split import Examples, Histories, Schema, Split
from lightning_rec.models.base import Fitted, ReadsCatalogue, SequenceModel
from lightning_rec.objectives.base import Objective
from lightning_rec.tasks.base import Task

ITEMS, MAX_LEN, USERS = 24, 8, 8
# One reads a language model: tests/cli/test_text.py.
MODELS = [name for name in models_of("sequence") if name != "zero_shot"]
SMALL = {"dim": 16, "depth": 1, "heads": 2}


def eight_users(seed: int = 0) -> Split:
    """Eight users whose whole sequence is trained on, and whose last item is asked for."""
    chance = np.random.default_rng(seed)
    sequences = [chance.permutation(ITEMS)[: chance.integers(4, MAX_LEN)] for _ in range(USERS)]
    offsets = np.append(0, np.cumsum([len(sequence) for sequence in sequences]))
    items = np.concatenate(sequences).astype(np.int32)
    users, end = np.arange(USERS), offsets[1:] - 1
    asked = Examples(users, end, items[end].astype(np.int64), end, np.zeros(USERS, dtype=bool))
    counts = np.bincount(items, minlength=ITEMS)
    return Split(
        offsets,
        items,
        np.arange(len(items)),
        offsets[1:],
        np.arange(ITEMS),
        counts,
        asked,
        asked,
        None,
        {},
        times=np.arange(len(items)) * 86_400,
    )


def titles(seed: int = 0) -> polars.DataFrame:
    """A catalogue whose titles are three words of ten, with one of four genres each."""
    words = np.random.default_rng(seed).integers(10, size=(ITEMS, 3)).tolist()
    texts = [" ".join(f"word{i}" for i in row) for row in words]
    return polars.DataFrame({"title": texts, "genres": [[f"genre{i[0] % 4}"] for i in words]})


def composed(name: str, *more: str, **settings: Any) -> DictConfig:
    """The config of a small one, with what else the model's own YAML knows of ``settings``."""
    whole = config.compose([f"model={name}"])
    wanted = {key: value for key, value in (SMALL | settings).items() if key in whole.model}
    overrides = [f"model.{key}={value}" for key, value in wanted.items()]
    if ((whole.get("loss") or {}).get("negatives", 0)) >= ITEMS:
        overrides.append(f"loss.negatives={ITEMS // 2}")
    return config.compose([f"model={name}", f"batches.max_len={MAX_LEN}", *overrides, *more])


PROBLEMS: dict[str, Any] = {}  # which make a new model each time that they are asked


def made(name: str, seed: int = 0, **settings: Any) -> tuple[SequenceModel, Objective]:
    """A small model in evaluation mode, fitted if it is fitted, and its published objective."""
    key = repr((name, settings))
    if key not in PROBLEMS:
        PROBLEMS[key] = problem_of(composed(name, **settings))
    problem = PROBLEMS[key]
    torch.manual_seed(seed)
    model = problem.make_model(Schema(ITEMS, MAX_LEN, USERS))
    if isinstance(model, ReadsCatalogue):
        model.read_catalogue(titles(seed))
    if isinstance(model, Fitted):
        model.fit(eight_users(seed))
    return model.eval(), problem.objective


CLOSED = {"override /objective@_global_.objective": "closed_form"}
LEARNERS = [name for name in MODELS if CLOSED not in said("model", name)["defaults"]]


def histories(items: Tensor, user: int = 0) -> Histories:
    return Histories(items, torch.full((len(items),), user))


def ask(model: SequenceModel, objective: Objective, items: Tensor) -> Tensor:
    """Scores of the next item: int64 [B, L] -> float [B, V]."""
    with torch.no_grad():
        return model.scores(model(*objective.query_inputs(histories(items), model.schema)))


def padded(items: Tensor, width: int) -> Tensor:
    return nn.functional.pad(items, (0, width - items.shape[1]), value=ITEMS)


def some(batch: int, length: int) -> Tensor:
    return torch.randint(ITEMS, (batch, length))


@pytest.mark.parametrize("name", MODELS)
def test_it_makes_a_query_for_each_place_asked_about(name: str) -> None:
    model, objective = made(name)
    assert isinstance(model, SequenceModel)
    assert objective.name == model.objectives[0]
    for batch, length in ((3, 5), (1, 1), (2, MAX_LEN)):
        asked = histories(some(batch, length))
        everywhere = model(asked, torch.ones(batch, length, dtype=torch.bool))
        assert everywhere.shape[0] == batch * length
        assert everywhere.isfinite().all()
        by_row = everywhere.view(batch, length, -1)
        for at in (torch.zeros(batch, dtype=torch.int64), torch.full((batch,), length - 1)):
            mask = nn.functional.one_hot(at, length).bool()
            here = by_row[torch.arange(batch), at]
            torch.testing.assert_close(model(asked, at), here, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(model(asked, mask), here, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_it_scores_the_catalogue_shared_items_and_own_items_alike(name: str) -> None:
    model, objective = made(name)
    queries = model(*objective.query_inputs(histories(some(3, 5)), model.schema))
    whole = model.scores(queries)
    assert whole.shape == (3, ITEMS)
    shared, own = torch.randperm(ITEMS)[:7], some(3, 6)
    torch.testing.assert_close(model.scores(queries, shared), whole[:, shared])
    torch.testing.assert_close(model.scores(queries, own), whole.gather(1, own))


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_company_change_no_score(name: str) -> None:
    model, objective = made(name)
    rows = [some(1, length) for length in (1, 2, 4, MAX_LEN)]
    alone = [ask(model, objective, row) for row in rows]
    for row, scores in zip(rows, alone, strict=True):
        for width in range(row.shape[1], MAX_LEN + 1):
            torch.testing.assert_close(
                ask(model, objective, padded(row, width)), scores, atol=1e-5, rtol=0
            )
    together = ask(model, objective, torch.cat([padded(row, MAX_LEN) for row in rows]))
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_a_causal_model_cannot_see_the_future(name: str) -> None:
    model, _ = made(name)
    if "next_item" not in model.objectives:
        pytest.skip("not causal")
    items, everywhere = some(2, MAX_LEN), torch.ones(2, MAX_LEN, dtype=torch.bool)
    before = model(histories(items), everywhere).view(2, MAX_LEN, -1)
    for place in range(MAX_LEN - 1):
        other = items.clone()
        other[:, place + 1 :] = (other[:, place + 1 :] + 1) % ITEMS
        after = model(histories(other), everywhere).view(2, MAX_LEN, -1)
        torch.testing.assert_close(after[:, : place + 1], before[:, : place + 1])


@pytest.mark.parametrize("name", MODELS)
def test_its_state_survives_a_round_trip_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, objective = made(name, seed=0)
    other, _ = made(name, seed=1)
    items = some(4, 5)
    assert not torch.equal(ask(other, objective, items), ask(model, objective, items))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(ask(other, objective, items), ask(model, objective, items))


@pytest.mark.parametrize("name", MODELS)
def test_its_yaml_holds_every_keyword_and_no_other(name: str) -> None:
    node = config.compose([f"model={name}"]).model
    keywords = inspect.signature(config.target("model", config.plain(node))).parameters
    live = {"schema", "items"}  # what only exists at run time
    assert set(node) - {"_target_"} == set(keywords) - live
    assert next(iter(keywords)) == "schema"
    defaults = {key: parameter.default for key, parameter in keywords.items() if key not in live}
    assert {key: node[key] for key in defaults} == defaults


def trained(
    name: str, steps: int, *more: str, seed: int = 0, **settings: Any
) -> tuple[pl.Trainer, Task, SequenceData]:
    """The model after some steps through the task, by its published objective and loss, unless
    ``more`` overrides choose others.
    """
    cfg = composed(name, *more, **settings)
    problem = problem_of(cfg)
    log: Any = SimpleNamespace(items=titles())
    loaded = Audited("eight", "", SplitLog(log, eight_users()), {}, {}, True)
    cfg.seed, cfg.optimizer.lr = seed, 0.01
    pl.seed_everything(seed, verbose=False)
    data = problem.make_data(loaded)
    task = problem.make_task(loaded, data)
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, DataModule(data))
    return trainer, task, data  # type: ignore[return-value]


BY_HEART = {
    # The sigmoids of its own loss leave no gradient where the scores of both items are high.
    "s3rec_pretraining": ["loss=full_softmax"],
    "liger": ["model.hidden=[32]"],  # a wider map wants a lower learning rate
}


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_eight_users_by_heart(name: str) -> None:
    more = BY_HEART.get(name, [])
    none = dict.fromkeys(("dropout", "attention_dropout", "input_dropout", "map_dropout"), 0.0)
    trainer, task, data = trained(name, 200, *more, **none)
    trainer.test(task, DataModule(data), verbose=False)
    assert task.figures["test/recall@1"] >= 7 / 8  # by chance: 1 / 24
    assert task.figures["test/mrr"] > 0.9


@pytest.mark.parametrize("name", LEARNERS)
def test_equal_seeds_give_equal_bits(name: str) -> None:
    first, again, other = (trained(name, 3, seed=seed)[1].model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
