"""HSTU against a plain re-computation, place by place and head by head."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.hstu import HSTU

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def made(**settings: float) -> HSTU:
    torch.manual_seed(0)
    model = HSTU(SCHEMA, dim=12, attention_dim=5, linear_dim=7, **settings).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def part(projected: Tensor, heads: int, head: int) -> Tensor:
    return F.silu(projected).chunk(heads)[head]


def by_hand(model: HSTU, items: list[int], times: list[int] | None = None) -> Tensor:
    """States of one sequence: float [L, D]; ``times`` has one more, when the next one came."""
    states = [
        model.item.weight[item] * 12**0.5 + model.position.weight[place]
        for place, item in enumerate(items)
    ]
    for layer in model.layers:
        normed = [F.layer_norm(state, (12,), eps=1e-6) for state in states]
        after = []
        for place, state in enumerate(states):
            mixed = []
            for head in range(layer.heads):
                total = torch.zeros(7)
                for before in range(place + 1):
                    query = part(layer.query(normed[place]), layer.heads, head)
                    key = part(layer.key(normed[before]), layer.heads, head)
                    bias = layer.distance[place - before]
                    if times is not None:
                        seconds = max(1, abs(times[place + 1] - times[before]))
                        bias = bias + layer.gap[min(128, int(math.log(seconds) / 0.301))]
                    weight = F.silu(query @ key + bias) / SCHEMA.max_len
                    total = total + weight * part(layer.value(normed[before]), layer.heads, head)
                mixed.append(total)
            attended = F.layer_norm(torch.cat(mixed), (7 * layer.heads,), eps=1e-6)
            after.append(state + layer.output(F.silu(layer.gate(normed[place])) * attended))
        states = after
    return torch.stack(states)


@pytest.mark.parametrize("heads", [1, 2])
def test_states_by_hand(heads: int) -> None:
    model = made(heads=heads)
    states = torch.cat([by_hand(model, [3, 1, 4, 1, 5]), by_hand(model, [9, 2, 6])])
    expected = states / states.norm(dim=1, keepdim=True) / 0.05
    torch.testing.assert_close(model(HISTORIES, REAL), expected, atol=1e-4, rtol=1e-4)


def test_the_bias_has_a_part_for_time() -> None:
    times = [[10, 70, 70, 5000, 90_000, 10**9], [5, 6, 900, 1000]]
    padded = torch.tensor([times[0], [*times[1], 1000, 1000]])
    model, histories = made(heads=2, times=True), HISTORIES._replace(times=padded)
    rows = [by_hand(model, [3, 1, 4, 1, 5], times[0]), by_hand(model, [9, 2, 6], times[1])]
    expected = torch.cat(rows) / torch.cat(rows).norm(dim=1, keepdim=True) / 0.05
    torch.testing.assert_close(model(histories, REAL), expected, atol=1e-4, rtol=1e-4)
    plain = made(heads=2)
    assert torch.equal(plain(histories, REAL), plain(HISTORIES, REAL))  # it reads no times


def test_scores_are_cosines_over_the_temperature() -> None:
    model, everything = made(temperature=0.1), torch.arange(30)
    queries = model(HISTORIES, REAL)
    cosine = F.cosine_similarity(queries[:, None], model.item.weight[:30], dim=2)
    for scores in (model.scores(queries), model.scores(queries, everything)):
        torch.testing.assert_close(scores, cosine / 0.1, atol=1e-4, rtol=1e-4)
    few, many = torch.randint(30, (8, 2)), torch.randint(30, (8, 50))
    for own in (few, many):  # fewer than the catalogue, and more
        torch.testing.assert_close(
            model.scores(queries, own), (cosine / 0.1).gather(1, own), atol=1e-4, rtol=1e-4
        )


def test_without_normalisation_they_are_inner_products() -> None:
    model = made(normalize=False, temperature=2.0)
    states = torch.cat([by_hand(model, [3, 1, 4, 1, 5]), by_hand(model, [9, 2, 6])])
    torch.testing.assert_close(model(HISTORIES, REAL), states / 2, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.vectors().weight, model.item.weight[:30])


def test_attention_is_no_mean() -> None:
    """With a softmax, what is asked for would not depend on how often one item came."""
    layer = made().layers[0]
    row = torch.randn(1, 1, 5)
    value = torch.randn(1, 1, 7).expand(1, 4, 7)
    with torch.no_grad():
        layer.distance.zero_()
        sums = layer._attend(row.expand(1, 4, 5), row.expand(1, 4, 5), value)[0]
    torch.testing.assert_close(sums, sums[:1] * torch.arange(1, 5)[:, None])


def test_weights_start_as_in_the_authors_code() -> None:
    model = HSTU(Schema(2000, 200, 1))
    layer = model.layers[0]
    for weight in (layer.gate.weight, layer.query.weight, layer.distance):
        assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert layer.gate.bias is None
    assert layer.output.weight.abs().max() <= (6 / 100) ** 0.5  # Glorot's uniform
    assert model.position.weight.std().item() == pytest.approx((2 / 250) ** 0.5, rel=0.05)
    assert model.item.weight.abs().max() <= 0.04
    assert (model.item.weight[2000] == 0).all()
    shapes = {
        tuple(part.weight.shape) for part in (layer.gate, layer.value, layer.query, layer.key)
    }
    assert shapes == {(50, 50)}


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
