"""SASRec against a plain re-computation of what the authors' code does."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.sasrec import SASRec

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def by_hand(model: SASRec, items: list[int], as_rectools: bool = False) -> Tensor:
    """States of one sequence, place by place and head by head: float [L, D]."""
    dim, heads = model.item.dim, model.blocks[0].heads
    places, scale = list(range(len(items))), dim**0.5
    if as_rectools:
        places, scale = places[::-1], 1.0
    states = [model.item.weight[item] * scale + model.position.weight[place] for place, item in zip(places, items, strict=True)]  # fmt: skip
    for block in model.blocks:
        asked = [block.attention_norm(state) for state in states]
        after = []
        for place in range(len(states)):
            query = block.query(asked[place]).chunk(heads)
            mixed = []
            for head in range(heads):
                keys = [block.key(state).chunk(heads)[head] for state in states[: place + 1]]
                values = [block.value(state).chunk(heads)[head] for state in states[: place + 1]]
                weights = torch.stack([query[head] @ key for key in keys]) / (dim / heads) ** 0.5
                mixed.append((weights.softmax(0)[:, None] * torch.stack(values)).sum(0))
            hidden = block.norm(asked[place] + block.output(torch.cat(mixed)))
            after.append(hidden + block.contract(F.relu(block.expand(hidden))))
        states = after
    return torch.stack([model.norm(state) for state in states])


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("as_rectools", [False, True])
def test_states_by_hand(heads: int, as_rectools: bool) -> None:
    torch.manual_seed(0)
    other: Any = {"scaled": False, "places": "latest"} if as_rectools else {}
    model = SASRec(SCHEMA, dim=16, depth=2, heads=heads, **other).eval()
    for parameter in model.parameters():  # .02 would leave all but the item vectors without effect
        nn.init.normal_(parameter, std=0.5)
    states = model(HISTORIES, REAL)
    expected = torch.cat(
        [by_hand(model, each, as_rectools) for each in ([3, 1, 4, 1, 5], [9, 2, 6])]
    )
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


def test_the_output_is_tied_to_the_items_without_bias() -> None:
    model = SASRec(SCHEMA, dim=16)
    queries = torch.randn(4, 16)
    torch.testing.assert_close(model.scores(queries), queries @ model.item.weight[:30].T)


def test_weights_start_as_stated_and_padding_never_learns() -> None:
    model = SASRec(Schema(2000, 50, 1), dim=64)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert (module.bias == 0).all()
    assert model.item.weight[:2000].std().item() == pytest.approx(0.02, rel=0.05)
    assert (model.item.weight[2000] == 0).all()
    items = torch.tensor([[5, 2000]])
    states = model(Histories(items, torch.zeros(1)), torch.ones(1, 2, dtype=torch.bool))
    model.scores(states).sum().backward()
    assert model.item.weight.grad is not None
    assert (model.item.weight.grad[2000] == 0).all()


def test_glorots_normal_reaches_all_weights() -> None:
    model = SASRec(Schema(2000, 50, 1), dim=64, init="xavier")
    for weight in (model.item.weight[:2000], model.position.weight, model.blocks[0].query.weight):
        fans = sum(weight.shape) + 2 * (len(weight) == 2000)  # the table has two rows more
        assert weight.std().item() == pytest.approx((2 / fans) ** 0.5, rel=0.05)


def test_item_vectors_drop_out_where_they_are_read_and_where_they_are_scored() -> None:
    model = SASRec(SCHEMA, dim=16, dropout=0.0, attention_dropout=0.0, item_dropout=0.5)
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    scored = model.vectors(torch.arange(30)).weight
    dropped = scored == 0
    assert 0.3 < dropped.float().mean() < 0.7
    torch.testing.assert_close(scored[~dropped], 2 * model.item.weight[:30][~dropped])
    model.eval()
    assert torch.equal(model.vectors().weight, model.item.weight[:30])


def test_dropout_and_attention_dropout_work_in_training_alone() -> None:
    asked = HISTORIES, REAL
    for settings in ({"dropout": 0.5, "attention_dropout": 0.0}, {"dropout": 0.0, "attention_dropout": 0.5}):  # fmt: skip
        model = SASRec(SCHEMA, dim=16, **settings)
        assert not torch.equal(model(*asked), model(*asked))
        model.eval()
        assert torch.equal(model(*asked), model(*asked))


def test_heads_must_divide_dim() -> None:
    with pytest.raises(ValueError, match="heads=3 must divide dim=64"):
        SASRec(SCHEMA, dim=64, heads=3)


def test_sparse_gradients_stay_sparse_however_many_negatives_there_are() -> None:
    model = SASRec(SCHEMA, dim=16, sparse=True)
    queries, items = torch.randn(12, 16), torch.randint(20, (12, 50))  # more than there are items
    weight = torch.randn(12, 50)
    (model.scores(queries, items) * weight).sum().backward()
    found = model.item.weight.grad
    assert found is not None
    assert found.is_sparse
    other = SASRec(SCHEMA, dim=16)
    other.load_state_dict(model.state_dict())
    (other.scores(queries, items) * weight).sum().backward()
    torch.testing.assert_close(found.to_dense(), other.item.weight.grad)
    assert not found.to_dense()[20:].any()
