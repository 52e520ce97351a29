"""What every model of clicks inherits. Models are found by their YAML; a new one needs no test."""

import inspect
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from safetensors.torch import load_file, save_file
from shipped import class_of, models_of, said
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor, nn

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.batches import ClickData
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.histories import Past
from lightning_rec.data.clicks.pipeline import SplitClicks
from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.split import Histories
from lightning_rec.errors import UserError
from lightning_rec.models.clicks.parts import ClickModel, FittedToClicks
from lightning_rec.problems.clicks import Clicks
from lightning_rec.tasks.base import Task
from lightning_rec.tasks.click import own_penalty

SCHEMA = ClickSchema(
    (
        Field("user", "categorical", 1, 7, 1),
        Field("item", "categorical", 8, 9, 1),
        Field("tags", "multi_valued", 17, 5, 3),
        Field("age", "numeric", 22, 1, 0),
        Field("price", "numeric", 23, 1, 0),
    ),
    "item",
    6,
)
GOALS = ("click", "buy")  # of models of several goals
CATEGORIES = ClickSchema(SCHEMA.fields[:2], "item", 6)
NUMBERS = ClickSchema((Field("age", "numeric", 1, 1, 0), Field("price", "numeric", 2, 1, 0)))
# Other tests have them: of a language model, and of an encoder's scores, which read no field.
MODELS = [name for name in models_of("click") if name not in ("tallrec", "sequence_score")]
SMALL = {
    "dim": 8,
    "mlp": [16, 8],
    "mlp2": [8],
    "attention_dim": 8,
    "cin": [4],
    "block_dim": 8,
    "gate": [4],
    "attention": [8],
    "discriminator": [8],
    "width": 8,
    "rounds": 60,
    "min_rows": 1,
    "cat_smooth": 0,
    "feature_drop": 0.7,
}


def some(number: int, schema: ClickSchema = SCHEMA, seed: int = 0) -> Rows:
    """Rows with any ids of their fields, unknown ones too, and lists and histories of any length."""
    chance = np.random.default_rng(seed)
    columns = []
    for field in schema.fields:
        ids = chance.integers(field.start, field.start + field.size, size=(number, field.width))
        if field.kind == "multi_valued":
            length = chance.integers(0, field.width + 1, size=(number, 1))
            ids = np.where(np.arange(field.width) < length, ids, 0)
        columns.append(ids)
    values = chance.normal(size=(number, len(schema.of("numeric")))).astype(np.float32)
    ids = np.concatenate(columns, axis=1).astype(np.int32)
    rows = Rows(torch.from_numpy(ids), torch.from_numpy(values))
    if (history := schema.history) is None:
        return rows
    length = np.sort(chance.integers(0, history.max_len + 1, size=(number, 1)), axis=0)[::-1]
    items = chance.integers(history.num_items, size=(number, history.max_len))
    items = np.where(np.arange(history.max_len) < length, items, history.padding)
    return rows._replace(history=Histories(torch.from_numpy(items), torch.zeros(number).long()))


def cut(rows: Rows, at: slice) -> Rows:
    """Some of the rows."""
    history = rows.history and Histories(rows.history.items[at], rows.history.user[at])
    return Rows(rows.ids[at], rows.values[at], history)


def clicks(number: int = 48) -> Encoded:
    """Rows whose user and item decide whether there is a click: both odd, or both even."""
    rows = some(number)
    pairs = list(itertools.product(range(2, 8), range(9, 17)))
    for row, pair in enumerate(pairs[:number]):
        rows.ids[row, :2] = torch.tensor(pair)
    label = ((rows.ids[:, 0] + rows.ids[:, 1]) % 2).float().numpy()
    every = np.arange(number)
    empty = polars.DataFrame()
    assert rows.history is not None
    real = rows.history.items.numpy() != 8
    end = np.cumsum(real.sum(axis=1))
    past = Past(
        rows.history.items.numpy()[real].astype(np.int32), end - real.sum(axis=1), end, None
    )
    return Encoded(
        SCHEMA, rows.ids.numpy(), rows.values.numpy(), label, None, rows.ids[:, 0].numpy(), every,
        every, every, empty, empty, None, {}, past=past,
    )  # fmt: skip


def several(name: str) -> bool:
    """Whether the model has several goals."""
    return bool(getattr(class_of(name), "multi_task", False))


def clicks_for(name: str) -> Encoded:
    """The rows; for models of several goals, half of the users buy what they click."""
    encoded = clicks()
    if not several(name):
        return encoded
    bought = encoded.label * (encoded.ids[:, 0] % 2)
    label = np.stack([encoded.label, bought], axis=1)
    return replace(encoded, schema=SCHEMA._replace(goals=GOALS), label=label)


def composed(name: str, **settings: Any) -> DictConfig:
    """The config of a small one, with what else the model's own YAML knows of ``settings``."""
    keys = said("model", name)
    wanted = {key: value for key, value in (SMALL | settings).items() if key in keys}
    values = [f"model.{key}={value}" for key, value in wanted.items()]
    if several(name):
        values += [
            "data.fields.label=null",
            "data.fields.positive_from=null",
            "+data.fields.goals={click: {column: clicked}, buy: {column: bought}}",
            "monitor=val/click/auc",
        ]
    return config.compose([f"model={name}", "data.fields.slices=[]", *values])


PROBLEMS: dict[str, Clicks] = {}


def problem_for(name: str, **settings: Any) -> Clicks:
    """The problem of a small one, which makes a new model each time that it is asked."""
    key = repr((name, settings))
    if key not in PROBLEMS:
        problem = problem_of(composed(name, **settings))
        assert isinstance(problem, Clicks)
        PROBLEMS[key] = problem
    return PROBLEMS[key]


def made(name: str, seed: int = 0, schema: ClickSchema = SCHEMA, **settings: Any) -> nn.Module:
    """A small model in evaluation mode, fitted if it is fitted, its embeddings of visible size."""
    problem = problem_for(name, **settings)
    torch.manual_seed(seed)
    model = problem.make_model(schema._replace(goals=GOALS) if several(name) else schema)
    if isinstance(model, FittedToClicks):
        if schema is SCHEMA:
            encoded = clicks_for(name)
            encoded.label[:] = np.random.default_rng(seed).random(encoded.label.shape) < 0.5
            model.fit(encoded)
    else:
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight)
                module.weight.data[0] = 0
    return model.eval()


def ask(model: nn.Module, rows: Rows) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(rows)
    return logits


LEARNERS = [name for name in MODELS if not issubclass(class_of(name), FittedToClicks)]


def test_there_are_models() -> None:
    assert len(LEARNERS) >= 11


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "schema", [SCHEMA, CATEGORIES, NUMBERS], ids=["all", "categories", "numbers"]
)
def test_it_gives_each_row_a_logit_whatever_its_fields(name: str, schema: ClickSchema) -> None:
    if schema is NUMBERS and name in NEEDS_ITEMS:
        with pytest.raises(UserError, match=r"data\.fields\.item"):
            made(name, schema=schema)
        return
    model = made(name, schema=schema)
    assert isinstance(model, ClickModel)
    assert any(each.requires_grad for each in model.parameters()) == (name in LEARNERS)
    assert model.reads_history == (name in READERS)
    for number in (1, 2, 33):
        logits = ask(model, some(number, schema))
        assert logits.shape == ((number, len(GOALS)) if several(name) else (number,))
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()


READERS = [name for name in MODELS if class_of(name).reads_history]
NEEDS_ITEMS = [*READERS, "click_neumf", "two_tower"]


@pytest.mark.parametrize("name", MODELS)
def test_histories_count_for_those_who_read_them_and_their_padding_for_nobody(name: str) -> None:
    model, rows = made(name), some(30)
    assert rows.history is not None
    before, items = ask(model, rows), rows.history.items
    wider = nn.functional.pad(items, (0, 2), value=8)
    cut_off = items[:, : int((items != 8).sum(dim=1).max())]
    for padded in (wider, cut_off):
        same = rows._replace(history=rows.history._replace(items=padded))
        torch.testing.assert_close(ask(model, same), before, atol=1e-5, rtol=1e-5)
    other = torch.where(items == 8, items, (items + 1) % 8)
    changed = ask(model, rows._replace(history=rows.history._replace(items=other)))
    with_items = (items != 8).any(dim=1)
    moved = (changed != before).reshape(len(items), -1).any(dim=1)
    assert (moved == (with_items & (name in READERS))).all()


@pytest.mark.parametrize("name", MODELS)
def test_company_changes_no_logit(name: str) -> None:
    model, rows = made(name), some(9)
    together = ask(model, rows)
    alone = [ask(model, cut(rows, slice(i, i + 1))) for i in range(9)]
    torch.testing.assert_close(torch.cat(alone), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_a_list_and_its_filling_change_nothing(name: str) -> None:
    model, rows = made(name), some(20)
    turned = rows.ids.clone()
    turned[:, 2:5] = turned[:, 2:5].flip(1)
    torch.testing.assert_close(
        ask(model, rows._replace(ids=turned)), ask(model, rows), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("name", MODELS)
def test_unknown_categories_and_empty_lists_are_no_crash(name: str) -> None:
    model = made(name)
    ids = torch.tensor([[1, 8, 0, 0, 0], [1, 8, 17, 0, 0]], dtype=torch.int32)
    numbers = torch.tensor([[0.0, 0.0], [1e6, -1e6]])
    rows = cut(some(2), slice(0, 2))._replace(ids=ids, values=numbers)
    assert ask(model, rows).isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_field_counts(name: str) -> None:
    model, rows = made(name), some(30)
    before = ask(model, rows)
    for column, field in ((0, 0), (1, 1), (2, 2)):
        ids = rows.ids.clone()
        start, size = SCHEMA.fields[field].start, SCHEMA.fields[field].size
        ids[:, column] = start + (ids[:, column] - start + 1) % size
        assert not torch.equal(ask(model, rows._replace(ids=ids)), before), field
    if name in LEARNERS:
        assert not torch.equal(ask(model, rows._replace(values=rows.values + 1)), before)


@pytest.mark.parametrize("name", MODELS)
def test_its_state_survives_a_round_trip_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, other, rows = made(name, seed=0), made(name, seed=1), some(8)
    assert not torch.equal(ask(other, rows), ask(model, rows))
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(ask(other, rows), ask(model, rows))


@pytest.mark.parametrize("name", MODELS)
def test_its_yaml_holds_every_keyword_and_no_other(name: str) -> None:
    node = config.plain(config.compose([f"model={name}"]).model)
    keywords = inspect.signature(config.target("model", node)).parameters
    assert set(node) - {"_target_"} == set(keywords) - {"schema"}
    assert next(iter(keywords)) == "schema"
    for key, parameter in keywords.items():
        if key != "schema":
            given = tuple(node[key]) if isinstance(node[key], list) else node[key]
            assert given == parameter.default, key


@pytest.mark.parametrize("name", LEARNERS)
def test_every_weight_is_learnt(name: str) -> None:
    model = made(name).train()
    logits = model(some(64))
    loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    (loss + own_penalty(model)).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def trained(
    name: str, steps: int, seed: int = 0, **settings: Any
) -> tuple[pl.Trainer, Task, ClickData]:
    """The model after some steps through the task."""
    cfg = composed(name, **settings)
    cfg.seed, cfg.optimizer.lr = seed, 0.02
    problem = problem_of(cfg)
    loaded = Audited("clicks", "", SplitClicks(None, clicks_for(name)), {}, {}, True)
    pl.seed_everything(seed, verbose=False)
    data = problem.make_data(loaded)
    task = problem.make_task(loaded, data)
    task.make_schedule = lambda optimizer, steps, per_epoch: torch.optim.lr_scheduler.ConstantLR(
        optimizer, 1.0
    )
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(task, DataModule(data))
    return trainer, task, data  # type: ignore[return-value]


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_some_rows_by_heart(name: str) -> None:
    trainer, task, data = trained(name, 250)
    trainer.test(task, DataModule(data), verbose=False)
    # Odd users click odd items: without pairs of fields there is only the noise to learn.
    for figure in [f"test/{goal}/auc" for goal in GOALS] if several(name) else ["test/auc"]:
        assert task.figures[figure] > (0.7 if name in ("lr_sgd", "two_tower") else 0.99)


def test_conversions_are_measured_given_a_click_and_over_all_rows() -> None:
    trainer, task, data = trained("esmm", 20)
    trainer.test(task, DataModule(data), verbose=False)
    click, buy = task.steps.predictions["test"].values()
    p, bought = (buy.probability / click.probability).numpy(), buy.label.numpy()
    clicked = click.label.numpy() > 0.5
    figures = {name.removeprefix("test/"): value for name, value in task.figures.items()}
    assert figures["buy_after_click/auc"] == pytest.approx(
        roc_auc_score(bought[clicked], p[clicked])
    )
    assert figures["buy_after_click/logloss"] == pytest.approx(
        log_loss(bought[clicked], p[clicked]), rel=1e-4
    )
    assert figures["buy_after_click/rate"] == bought[clicked].mean()
    assert figures["buy/auc"] == pytest.approx(roc_auc_score(bought, buy.probability.numpy()))
    assert figures["buy/rate"] == bought.mean()


@pytest.mark.parametrize("name", LEARNERS)
def test_equal_seeds_give_equal_bits(name: str) -> None:
    first, again, other = (trained(name, 3, seed=seed)[1].model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
