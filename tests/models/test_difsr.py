"""DIF-SR against the authors' layers with equal weights, and what it cannot read."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Histories, Schema
from lightning_rec.items.base import Reading, item_node
from lightning_rec.models.sequential.difsr import DIFSR, Layer, parts_of

DIM, HEADS = 12, 2
CATALOGUE = pl.DataFrame(
    {
        "item": list("abcdef"),
        "genres": [["x", "y"], ["y"], ["x", "z"], [], None, ["y", "w", "x"]],
        "brand": ["k", "l", "l", "m", "k", None],
        "year": [1990, 1991, 1994, None, 1999, 2001],
    }
)
SCHEMA = Schema(num_items=6, max_len=5, num_users=2)
ITEMS = torch.tensor([[3, 1, 4, 0, 5], [2, 5, 6, 6, 6]])
REAL = ITEMS.ne(SCHEMA.padding)
HISTORIES = Histories(ITEMS, torch.arange(2))
PARTS = {
    name: {"_target_": "lightning_rec.items.features.Features", "columns": [name], "min_items": 1}
    for name in ("genres", "brand")
}
IDS = {"_target_": "lightning_rec.items.base.OwnIds"}
SUM = "lightning_rec.items.base.SumOf"


def made(parts: dict[str, Any] | None = None, **settings: Any) -> DIFSR:
    node = item_node("item", {"_target_": SUM, "parts": parts or {"ids": IDS, **PARTS}, **settings})
    reading = Reading(CATALOGUE, CATALOGUE["item"], 6, Path(), Frozen())
    model = DIFSR(SCHEMA, DIM, 2, HEADS, 2, 0.0, 0.0, 3.0, items=node.items(reading))
    model.item.read()
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def heads(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], HEADS, -1).permute(0, 2, 1, 3)


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, (DIM,), layer.weight, layer.bias, 1e-12)


def official(layer: Layer, x: Tensor, place: Tensor, attributes: list[Tensor]) -> Tensor:
    """DIFTransformerLayer with fusion_type 'sum': each product by itself, one scale, one mask."""
    scores = heads(layer.query(x)) @ heads(layer.key(x)).transpose(-1, -2)
    for query, key, read in zip(layer.queries, layer.keys, [place, *attributes], strict=True):
        scores = scores + heads(query(read)) @ heads(key(read)).transpose(-1, -2)
    scores = scores / (DIM / HEADS) ** 0.5
    causal = torch.ones(x.shape[1], x.shape[1]).tril() * REAL[:, None, None]
    weights = (scores + (1 - causal) * -10000.0).softmax(dim=-1)
    context = (weights @ heads(layer.value(x))).permute(0, 2, 1, 3).flatten(2)
    hidden = norm(layer.attention_norm, layer.output(context) + x)
    return norm(layer.norm, layer.contract(F.gelu(layer.expand(hidden))) + hidden)


def forward(model: DIFSR) -> Tensor:
    own, attributes = parts_of(model.item)
    place = model.position.weight.expand(2, -1, -1)
    x = norm(model.norm, own(ITEMS))
    for layer in model.layers:
        assert isinstance(layer, Layer)
        x = official(layer, x, place, [each(ITEMS) for each in attributes])
    return x[REAL]


def test_queries_scores_and_gradients_are_those_of_the_authors_layers() -> None:
    model = made().train()
    model.begin_step(HISTORIES)
    queries = model(HISTORIES, REAL)
    expected = forward(model)
    torch.testing.assert_close(queries, expected, rtol=1e-5, atol=1e-5)
    mine, theirs = (
        torch.autograd.grad(
            each.square().sum(), list(model.parameters()), retain_graph=True, allow_unused=True
        )
        for each in (queries, expected)
    )
    assert sum(each is not None for each in mine) > 50
    for found, wanted in zip(mine, theirs, strict=True):
        assert (found is None) == (wanted is None)
        if found is not None:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    model.eval()
    last = model(HISTORIES, torch.tensor([4, 1]))
    torch.testing.assert_close(last, expected[[4, 6]], rtol=1e-5, atol=1e-5)
    own = parts_of(model.item)[0].table()
    torch.testing.assert_close(model.scores(last), last @ own.T)


def test_each_attribute_tells_what_to_attend_to_and_is_not_passed_on() -> None:
    model = made().eval()
    before = model(HISTORIES, REAL)
    _, attributes = parts_of(model.item)
    for encoder in attributes:
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.mul_(2)
        after, before = before, model(HISTORIES, REAL)
        assert not torch.allclose(before[1], after[1])
        # A history of one item attends to itself alone, whatever is known of it.
        torch.testing.assert_close(before[[0, 5]], after[[0, 5]])


def test_the_next_items_categories_are_predicted_as_by_the_authors() -> None:
    model = made()
    queries, targets = torch.randn(4, DIM), torch.tensor([5, 0, 3, 0])
    genres = [[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 1, 1, 0]]  # w, x, y, z
    brands = [[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]  # k, l, m
    expected = sum(
        F.binary_cross_entropy_with_logits(head(queries), torch.tensor(label).float())
        for head, label in zip(model.predict, (genres, brands), strict=True)
    )
    torch.testing.assert_close(model.penalty(queries, targets), 3.0 * expected)


def test_a_sum_without_ids_and_one_that_is_weighed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"say them once, as in item=\[ids,features\]"):
        made(parts=PARTS)
    with pytest.raises(ValueError, match=r"item\.gate and item\.concat have no place"):
        made(gate=True)
    nested = {"both": {**PARTS["genres"], "ids": True}, "ids": IDS}
    with pytest.raises(ValueError, match="say them once"):
        made(parts=nested)


def test_numbers_are_attributes_but_nothing_to_predict() -> None:
    year = {**PARTS["genres"], "columns": ["year"]}
    model = made(parts={"ids": IDS, "year": year})
    assert len(parts_of(model.item)[1]) == 1
    assert len(model.predict) == 0
    assert model.penalty(torch.randn(2, DIM), torch.tensor([0, 1])) == 0
