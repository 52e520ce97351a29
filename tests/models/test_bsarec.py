"""BSARec against the authors' formulas: their transform, applied to each beginning of a sequence."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.bsarec import BSARec, Layer, lowest

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 6, 5, 30, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def made(depth: int = 2, cutoff: int = 3, dropout: float = 0.0) -> BSARec:
    torch.manual_seed(0)
    model = BSARec(
        SCHEMA, dim=12, depth=depth, heads=2, dropout=dropout, attention_dropout=dropout,
        alpha=0.6, cutoff=cutoff,
    ).eval()  # fmt: skip
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def low_pass(x: Tensor, cutoff: int) -> Tensor:
    """What the authors keep of a window, float [L, D] -> the same."""
    spectrum = torch.fft.rfft(x, dim=0, norm="ortho")
    spectrum[cutoff // 2 + 1 :] = 0
    return torch.fft.irfft(spectrum, n=len(x), dim=0, norm="ortho")


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    spread = (x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True)
    return layer.weight * (x - x.mean(-1, keepdim=True)) / torch.sqrt(spread + 1e-12) + layer.bias


def official(layer: Layer, x: Tensor, cutoff: int) -> Tensor:
    """The state of the last position of a window, float [L, D] -> [D]."""
    low = low_pass(x, cutoff)
    filtered = norm(layer.filter_norm, low + layer.high**2 * (x - low) + x)[-1]
    parts = [
        F.scaled_dot_product_attention(query[-1:], key, value)
        for query, key, value in zip(
            *(part(x).chunk(2, dim=1) for part in (layer.query, layer.key, layer.value)),
            strict=True,
        )
    ]
    attended = norm(layer.attention_norm, layer.output(torch.cat(parts, dim=1))[0] + x[-1])
    mixed = 0.6 * filtered + 0.4 * attended
    return norm(layer.norm, layer.contract(F.gelu(layer.expand(mixed))) + mixed)


@pytest.mark.parametrize("cutoff", [1, 3, 6, 100])
@pytest.mark.parametrize("depth", [1, 2])
def test_each_position_has_the_state_that_the_authors_code_has_last(
    depth: int, cutoff: int
) -> None:
    model, expected = made(depth, cutoff), []
    for items in ([3, 1, 4, 1, 5, 9], [2, 6, 5]):
        back = torch.arange(len(items) - 1, -1, -1)  # the latest item has position 0
        states = norm(model.norm, model.item.weight[items] + model.position.weight[back])
        for layer in model.layers:
            states = torch.stack(
                [official(layer, states[:end], cutoff) for end in range(1, len(items) + 1)]
            )
        expected.append(states)
    torch.testing.assert_close(model(HISTORIES, REAL), torch.cat(expected), atol=1e-4, rtol=1e-4)
    last = torch.stack([states[-1] for states in expected])
    at = torch.tensor([5, 2])
    torch.testing.assert_close(model(HISTORIES, at), last, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_the_low_pass_is_that_of_a_fourier_transform(number: int) -> None:
    x = torch.randn(13, 4)
    found = lowest(13, number) @ x
    for end in range(1, 14):
        wanted = low_pass(x[:end], 2 * (number - 1))[-1]
        torch.testing.assert_close(found[end - 1], wanted, atol=1e-5, rtol=1e-5)


def test_weights_start_as_in_the_authors_code() -> None:
    model = BSARec(Schema(2000, 50, 1), dim=512)
    layer = model.layers[0]
    for weight in (model.item.weight[:2000], model.position.weight, layer.expand.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.high.std().item() == pytest.approx(1.0, rel=0.1)
    assert "low_pass" not in model.state_dict()


def test_dropout_works_in_training_alone() -> None:
    model = made(dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
