"""BERT4Rec against what its paper says."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.bert4rec import BERT4Rec

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)


@pytest.fixture
def model() -> BERT4Rec:
    torch.manual_seed(0)
    return BERT4Rec(SCHEMA, dim=16, depth=2, heads=2).eval()


ITEMS = torch.tensor([[3, 1, 4, 1, 5]])


def states(model: BERT4Rec, items: Tensor) -> Tensor:
    """Queries at all places: int64 [1, L] -> float [1, L, D]."""
    histories = Histories(items, torch.zeros(1, dtype=torch.int64))
    queries: Tensor = model(histories, torch.ones_like(items, dtype=torch.bool))
    return queries[None]


def differs(a: Tensor, b: Tensor) -> Tensor:
    """Which places' states differ: bool [L]."""
    return ((a - b).abs() > 1e-4).any(dim=-1)[0]


@pytest.mark.parametrize("place", range(5))
def test_every_place_sees_both_sides(model: BERT4Rec, place: int) -> None:
    other = ITEMS.clone()
    other[0, place] = 9
    assert differs(states(model, other), states(model, ITEMS)).all()


def test_the_mask_is_a_token_of_its_own(model: BERT4Rec) -> None:
    masked = ITEMS.clone()
    masked[0, 2] = SCHEMA.mask
    before = states(model, masked)
    assert differs(before, states(model, ITEMS)).all()
    with torch.no_grad():
        model.item.weight[SCHEMA.mask] += torch.randn(16)
    assert differs(before, states(model, masked)).all()


def test_the_output_is_tied_to_the_items_and_has_a_bias(model: BERT4Rec) -> None:
    hidden = torch.randn(4, 16)
    before = model.scores(hidden)
    with torch.no_grad():
        model.item.weight[7] += torch.randn(16)
        model.output_bias[11] += 2.0
    changed = (model.scores(hidden) - before).detach()
    assert [item for item in range(30) if changed[:, item].abs().max() > 1e-6] == [7, 11]
    torch.testing.assert_close(changed[:, 11], torch.full((4,), 2.0))
    assert sum(parameter is model.item.weight for parameter in model.parameters()) == 1


def test_padding_and_mask_are_never_recommended_and_padding_never_learns(model: BERT4Rec) -> None:
    scores = model.scores(states(model, torch.tensor([[3, SCHEMA.mask, SCHEMA.padding]]))[0])
    assert scores.shape[-1] == SCHEMA.num_items
    scores.sum().backward()
    assert model.item.weight.grad is not None
    assert (model.item.weight.grad[SCHEMA.padding] == 0).all()
    assert (model.item.weight[SCHEMA.padding] == 0).all()


def test_places_count_from_the_latest_and_order_matters(model: BERT4Rec) -> None:
    latest = states(model, ITEMS)[:, -1].detach()
    with torch.no_grad():
        model.position.weight[len(ITEMS[0]) :] += 1.0  # older than anything here
    torch.testing.assert_close(states(model, ITEMS)[:, -1], latest)
    swapped = ITEMS[:, [1, 0, 2, 3, 4]]
    assert differs(states(model, swapped)[:, -1:], latest[:, None]).all()
    with torch.no_grad():
        model.position.weight[0] += torch.randn(16)
    assert differs(states(model, ITEMS)[:, -1:], latest[:, None]).all()


@pytest.mark.parametrize("init", ["paper", "xavier"])
def test_weights_start_as_stated(init: Any) -> None:
    model = BERT4Rec(Schema(2000, 50, 1), dim=64, init=init)
    for module in model.modules():
        if isinstance(module, nn.Embedding) or (isinstance(module, nn.Linear) and init == "paper"):
            assert module.weight.abs().max() <= 0.04
            # A normal of 0.02 cut at two deviations keeps 0.88 of its deviation.
            assert module.weight.std().item() == pytest.approx(0.0176, rel=0.06)
        elif isinstance(module, nn.Linear):
            glorot = (2 / (module.in_features + module.out_features)) ** 0.5
            assert module.weight.std().item() == pytest.approx(glorot, rel=0.06)
            assert (module.bias == 0).all()
    assert (model.output_bias == 0).all()
    assert (model.item.weight[model.schema.padding] == 0).all()


def test_depth_and_width_are_as_asked() -> None:
    model = BERT4Rec(SCHEMA, dim=16, depth=3, heads=4, feedforward=2)
    assert len(model.layers) == 3
    names = {name.split(".")[-2] for name, _ in model.layers.named_parameters()}
    assert {"query", "key", "value", "output", "expand", "contract"} <= names
    assert model.layers[0].expand.weight.shape == (32, 16)


def test_dropout_works_in_training_alone(model: BERT4Rec) -> None:
    assert torch.equal(states(model, ITEMS), states(model, ITEMS))
    model.train()
    assert not torch.equal(states(model, ITEMS), states(model, ITEMS))


def test_heads_must_divide_dim() -> None:
    with pytest.raises(ValueError, match="heads=3 must divide dim=64"):
        BERT4Rec(SCHEMA, dim=64, heads=3)
