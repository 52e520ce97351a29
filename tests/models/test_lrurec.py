"""LRURec against a recurrence in complex numbers, place by place."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.lrurec import Layer, LRURec, recur

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def made(dropout: float = 0.0) -> LRURec:
    torch.manual_seed(0)
    model = LRURec(SCHEMA, dim=6, dropout=dropout).eval()
    for name, parameter in model.named_parameters():
        if "rates" not in name:
            nn.init.normal_(parameter, std=0.5)
    return model


def official(layer: Layer, x: Tensor) -> Tensor:
    """One block of the authors' code, whose maps are complex: float [L, D] -> the same."""
    units = layer.rates.shape[1]
    nu, theta, gamma = layer.rates.exp()
    factor = torch.polar(torch.exp(-nu), theta)
    read = torch.complex(layer.read.weight[:units], layer.read.weight[units:])
    read_bias = torch.complex(layer.read.bias[:units], layer.read.bias[units:])
    write = torch.complex(layer.write.weight[:, :units], -layer.write.weight[:, units:])
    state, after = torch.zeros(units, dtype=torch.complex64), []
    for here in x:
        state = factor * state + gamma * (read @ here.to(torch.complex64) + read_bias)
        hidden = layer.recurrent_norm((write @ state).real + layer.write.bias + here)
        after.append(layer.norm(layer.contract(F.gelu(layer.expand(hidden))) + hidden))
    return torch.stack(after)


def test_states_are_those_of_the_authors_code() -> None:
    model, expected = made(), []
    for items in ([3, 1, 4, 1, 5], [9, 2, 6]):
        states = model.norm(model.item.weight[items])
        for layer in model.layers:
            states = official(layer, states)
        expected.append(states)
    torch.testing.assert_close(model(HISTORIES, REAL), torch.cat(expected), atol=1e-4, rtol=1e-4)
    queries = model(HISTORIES, torch.tensor([4, 2]))
    wanted = torch.stack([states[-1] for states in expected])
    torch.testing.assert_close(
        model.scores(queries),
        wanted @ model.item.weight[:30].T + model.output_bias,
        atol=1e-3,
        rtol=1e-4,
    )


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13])
def test_the_recurrence_is_that_of_a_loop(length: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, length, 5, dtype=torch.complex128)
    factor = torch.polar(torch.rand(5, dtype=torch.float64), torch.rand(5, dtype=torch.float64))
    state, expected = torch.zeros(3, 5, dtype=torch.complex128), []
    for place in range(length):
        state = factor * state + x[:, place]
        expected.append(state)
    torch.testing.assert_close(recur(x, factor), torch.stack(expected, dim=1))


def test_weights_start_as_in_the_authors_code() -> None:
    model = LRURec(Schema(2000, 50, 1), dim=256)
    layer = model.layers[0]
    nu, theta, gamma = layer.rates.exp()
    left = torch.exp(-nu)
    assert left.min() >= 0.8
    assert left.max() <= 0.99
    assert left.square().mean().item() == pytest.approx((0.8**2 + 0.99**2) / 2, rel=0.02)
    assert theta.max() <= 2 * math.pi
    assert theta.mean().item() == pytest.approx(math.pi, rel=0.1)
    torch.testing.assert_close(gamma, torch.sqrt(1 - left**2), atol=1e-4, rtol=1e-4)
    for part in (layer.read, layer.write, layer.expand):
        for weight in (part.weight, part.bias):
            assert weight.abs().max() <= 0.04
            assert weight.std().item() == pytest.approx(0.0176, rel=0.1)  # cut at two deviations
    assert model.output_bias.abs().max() > 0


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
