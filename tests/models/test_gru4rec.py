"""GRU4Rec against the equations of its paper, one step at a time."""

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.gru4rec import GRU4Rec

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def by_hand(model: GRU4Rec, items: list[int]) -> Tensor:
    """States of one sequence, gate by gate (Cho et al., 2014, in torch's notation): [L, D]."""
    inputs = [model.item.weight[item] for item in items]
    for layer in model.layers:
        state, states = torch.zeros(layer.hidden_size), []
        for x in inputs:
            reset_x, update_x, new_x = (layer.weight_ih_l0 @ x + layer.bias_ih_l0).chunk(3)
            reset_h, update_h, new_h = (layer.weight_hh_l0 @ state + layer.bias_hh_l0).chunk(3)
            reset, update = torch.sigmoid(reset_x + reset_h), torch.sigmoid(update_x + update_h)
            candidate = torch.tanh(new_x + reset * new_h)
            state = (1 - update) * candidate + update * state
            states.append(state)
        inputs = states
    return torch.stack(inputs)


@pytest.mark.parametrize("depth", [1, 2])
def test_states_by_hand(depth: int) -> None:
    torch.manual_seed(0)
    model = GRU4Rec(SCHEMA, dim=16, depth=depth).eval()
    expected = torch.cat([by_hand(model, [3, 1, 4, 1, 5]), by_hand(model, [9, 2, 6])])
    torch.testing.assert_close(model(HISTORIES, REAL), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_scores_are_of_the_stated_table_and_have_a_bias(tied: bool) -> None:
    model = GRU4Rec(SCHEMA, dim=16, tied=tied)
    nn.init.normal_(model.output_bias)
    assert (model.output is None) == tied
    table = model.item.weight[:30] if model.output is None else model.output.weight
    queries = torch.randn(4, 16)
    expected = queries @ table.T + model.output_bias
    torch.testing.assert_close(model.scores(queries), expected)
    own = torch.tensor([[3, 29], [0, 0], [7, 8], [1, 2]])
    torch.testing.assert_close(model.scores(queries, own), expected.gather(1, own))


def test_padding_has_no_vector_and_never_learns() -> None:
    model = GRU4Rec(SCHEMA, dim=16)
    assert (model.item.weight[SCHEMA.padding] == 0).all()
    model.scores(model(HISTORIES, torch.ones_like(REAL))).sum().backward()
    assert model.item.weight.grad is not None
    assert (model.item.weight.grad[SCHEMA.padding] == 0).all()
    assert model.item.weight[:30].norm(dim=1).mean().item() == pytest.approx(1, rel=0.1)


def test_dropout_is_on_the_items_and_each_layer_in_training_alone() -> None:
    model, dropped = GRU4Rec(SCHEMA, dim=16, depth=2, dropout=0.5), []
    model.dropout.register_forward_hook(lambda *call: dropped.append(call[2]))
    queries = model(HISTORIES, REAL)
    assert len(dropped) == 3
    assert torch.equal(queries, dropped[-1][REAL])
    assert all(0.3 < (x[REAL] == 0).float().mean() < 0.7 for x in dropped)
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.eval()
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
