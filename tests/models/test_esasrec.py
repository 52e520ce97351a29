"""eSASRec against the formulas of RecTools' LiGR layer, with torch's own attention."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.esasrec import ESASRec, Layer

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def made(heads: int = 1, dropout: float = 0.0) -> ESASRec:
    torch.manual_seed(0)
    model = ESASRec(SCHEMA, dim=12, heads=heads, feedforward=3, dropout=dropout).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def official(layer: Layer, states: Tensor) -> Tensor:
    """One layer over a whole sequence, float [L, D], by torch's ``MultiheadAttention``."""
    length, dim = states.shape
    attention = nn.MultiheadAttention(dim, layer.heads, batch_first=True).eval()
    parts = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    attention.out_proj.load_state_dict(layer.output.state_dict())
    future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    x = layer.attention_norm(states)[None]
    states = (
        states
        + torch.sigmoid(layer.attention_gate(states))
        * (attention(x, x, x, attn_mask=future, need_weights=False)[0][0])
    )
    x = layer.norm(states)
    swiglu = (F.silu(x @ layer.expand.weight.T) * (x @ layer.scale.weight.T)) @ (
        layer.contract.weight.T
    )
    return states + torch.sigmoid(layer.gate(states)) * swiglu


@pytest.mark.parametrize("heads", [1, 2])
def test_states_are_those_of_the_authors_code(heads: int) -> None:
    model, expected = made(heads), []
    for items in ([3, 1, 4, 1, 5], [9, 2, 6]):
        back = torch.arange(len(items) - 1, -1, -1)  # the latest item has position 0
        states = model.item.weight[items] + model.position.weight[back]
        for layer in model.layers:
            states = official(layer, states)
        expected.append(states)
    torch.testing.assert_close(model(HISTORIES, REAL), torch.cat(expected), atol=1e-4, rtol=1e-4)
    queries = model(HISTORIES, torch.tensor([4, 2]))
    torch.testing.assert_close(
        model.scores(queries),
        torch.stack([states[-1] for states in expected]) @ model.item.weight[:30].T,
        atol=1e-3,
        rtol=1e-4,
    )


def test_an_item_has_the_same_numbers_dropped_wherever_a_step_reads_it() -> None:
    model = made(dropout=0.5).train()
    model.begin_step(HISTORIES)
    whole, some = model.vectors().weight, model.vectors(torch.tensor([5, 3])).weight
    assert torch.equal(whole[[5, 3]], some)
    read = model._dropped(model.item(ITEMS), ITEMS)
    assert torch.equal(read[0, 4], whole[5])
    kept = whole != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(whole[kept], 2 * model.item.weight[:30][kept])
    model.begin_step(HISTORIES)
    assert not torch.equal(model.vectors().weight, whole)
    assert torch.equal(model.eval().vectors().weight, model.item.weight[:30])


def test_weights_start_as_in_the_authors_code() -> None:
    model = ESASRec(Schema(2000, 200, 1), dim=64)
    layer = model.layers[0]
    wanted = {
        model.item.weight[:2000]: 2 / (2002 + 64),
        model.position.weight: 2 / 264,
        layer.query.weight: 2 / (3 * 64 + 64),  # torch's attention keeps all three in one matrix
        layer.output.weight: 2 / 128,
        layer.gate.weight: 2 / 128,
        layer.expand.weight: 2 / 320,
        layer.contract.weight: 2 / 320,
    }
    for weight, variance in wanted.items():
        assert weight.std().item() == pytest.approx(variance**0.5, rel=0.05)
    assert layer.expand.bias is None


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
