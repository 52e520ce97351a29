"""FuXi-α against the authors' formulas over a whole window, and what it does with times."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.blocks import encode
from lightning_rec.models.sequential.fuxi import FuXi, Layer

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
TIMES = torch.tensor([[10, 70, 70, 5000, 90_000, 10**9], [5, 6, 900, 901, 901, 901]])
HISTORIES = Histories(ITEMS, torch.arange(2), TIMES)
REAL = ITEMS.ne(SCHEMA.padding)


def made(heads: int = 1, dropout: float = 0.0) -> FuXi:
    torch.manual_seed(0)
    model = FuXi(SCHEMA, 12, 2, heads, 5, 7, feedforward=2, dropout=dropout).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def rms(x: Tensor) -> Tensor:
    return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6)


def official(layer: Layer, x: Tensor, times: Tensor | None) -> Tensor:
    """One block over a whole history, float [L, D]; ``times``: int64 [L + 1]."""
    length, heads = len(x), layer.heads
    parts = (layer.gate, layer.value, layer.query, layer.key)
    u, v, q, k = (F.silu(rms(x) @ part.weight.T) for part in parts)
    mask = torch.tril(torch.ones(length, length))
    place = torch.arange(length)
    by_position = layer.distance[(place[:, None] - place).clamp(min=0)] * mask
    by_time = torch.zeros(length, length)
    if times is not None:
        bucket = (torch.log(torch.abs(times[1:, None] - times[:-1]).clamp(min=1)) / 0.301).long()
        by_time = layer.gap[torch.clamp(bucket, min=0, max=128)] * mask
    outputs = []
    for head in range(heads):
        query, key, value = (each.chunk(heads, dim=1)[head] for each in (q, k, v))
        content = F.silu(query @ key.T) / SCHEMA.max_len * mask
        outputs += [by_position @ value, by_time @ value, content @ value]
    x = layer.output(u * rms(torch.cat(outputs, dim=1))) + x
    inner = F.silu(rms(x) @ layer.expand.weight.T) * (rms(x) @ layer.scale.weight.T)
    return inner @ layer.contract.weight.T + x


def expected(model: FuXi, *, timed: bool = True) -> Tensor:
    made = []
    for row, items in enumerate([[3, 1, 4, 1, 5], [9, 2, 6]]):
        states = model.item.weight[items] * 12**0.5 + model.position.weight[: len(items)]
        for layer in model.layers:
            states = official(layer, states, TIMES[row, : len(items) + 1] if timed else None)
        made.append(states / states.norm(dim=1, keepdim=True) / 0.05)
    return torch.cat(made)


@pytest.mark.parametrize("heads", [1, 2])
def test_queries_are_those_of_the_authors_code(heads: int) -> None:
    model = made(heads)
    torch.testing.assert_close(model(HISTORIES, REAL), expected(model), atol=1e-3, rtol=1e-4)
    without = model(HISTORIES._replace(times=None), REAL)
    torch.testing.assert_close(without, expected(model, timed=False), atol=1e-3, rtol=1e-4)


def test_blocks_and_padding_change_nothing() -> None:
    model, at = made(), torch.tensor([4, 2])
    whole = model(HISTORIES, at)
    torch.testing.assert_close(encode(model, HISTORIES, at, 4), whole, atol=1e-4, rtol=1e-4)
    short = Histories(ITEMS[1:, :3], torch.tensor([1]), TIMES[1:, :4])
    torch.testing.assert_close(model(short, at[1:]), whole[1:], atol=1e-4, rtol=1e-4)


def test_blocks_of_short_rows_keep_when_they_are_asked() -> None:
    torch.manual_seed(0)
    model = FuXi(Schema(30, 20, 4), dim=12).eval()
    items = torch.randint(30, (6, 20))
    lengths = torch.tensor([20, 17, 8, 8, 3, 1])
    items = items.masked_fill(torch.arange(20) >= lengths[:, None], 30)
    times = (torch.rand(6, 21) * 10**6).long().sort(dim=1).values
    histories, at = Histories(items, torch.arange(6), times), lengths - 1
    whole = encode(model, histories, at, None)
    torch.testing.assert_close(encode(model, histories, at, 40), whole)


def test_what_is_asked_later_is_answered_otherwise() -> None:
    model, at = made(), torch.tensor([4])
    first = HISTORIES._replace(items=ITEMS[:1], times=TIMES[:1])
    later = first._replace(times=TIMES[:1] + torch.tensor([0, 0, 0, 0, 0, 10**9]))
    assert not torch.allclose(model(first, at), model(later, at))
    moved = first._replace(times=TIMES[:1] + 12345)  # only differences count
    torch.testing.assert_close(model(moved, at), model(first, at))


def test_weights_start_as_in_the_authors_code() -> None:
    layer = FuXi(Schema(2000, 500, 1)).layers[0]
    for weight in (layer.gate.weight, layer.query.weight, layer.distance, layer.gap):
        assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert layer.gate.weight.shape == (150, 50)
    assert layer.gap.shape == (129,)
    for part in (layer.output, layer.expand, layer.contract):  # Glorot's uniform
        edge = (6 / sum(part.weight.shape)) ** 0.5
        assert 0.95 * edge < part.weight.abs().max() <= edge


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
