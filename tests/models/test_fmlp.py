"""FMLP: its filter against a sum, and what it has in common with the paper's."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential.fmlp import FMLP, convolve

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


@pytest.mark.parametrize("length", [1, 2, 7, 12])
def test_the_filter_weighs_what_stood_k_places_before(length: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, length, 5), torch.randn(12, 5)
    expected = torch.zeros_like(x)
    for place in range(length):
        for back in range(place + 1):
            expected[:, place] += weight[back] * x[:, place - back]
    torch.testing.assert_close(convolve(x, weight), expected, atol=1e-5, rtol=1e-5)


def test_the_last_place_of_a_full_window_is_the_papers_filter() -> None:
    """Multiplying spectra without zeros is the paper's filter; the last place has no future."""
    torch.manual_seed(0)
    x, weight = torch.randn(3, 12, 5), torch.randn(12, 5)
    product = torch.fft.rfft(x, dim=1) * torch.fft.rfft(weight, dim=0)
    circular = torch.fft.irfft(product, n=12, dim=1)
    causal = convolve(x, weight)
    torch.testing.assert_close(causal[:, -1], circular[:, -1], atol=1e-5, rtol=1e-5)
    assert (causal[:, 0] - circular[:, 0]).abs().min() > 1e-3


def test_the_filter_takes_half_precision_and_has_gradients() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 3), torch.randn(5, 3)
    half = convolve(x.bfloat16(), weight)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), convolve(x, weight), atol=0.1, rtol=0.05)
    double = x.double().requires_grad_(), weight.double().requires_grad_()
    convolve(*double).pow(2).sum().backward()
    assert double[0].grad is not None
    assert double[1].grad is not None


def test_states_by_hand() -> None:
    torch.manual_seed(0)
    model = FMLP(SCHEMA, dim=16, depth=2).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    expected = []
    for items in ([3, 1, 4, 1, 5], [9, 2, 6]):
        hidden = model.norm(model.item.weight[items] + model.position.weight[: len(items)])
        for block in model.blocks:
            filtered = torch.stack([
                sum(block.filter[back] * hidden[place - back] for back in range(place + 1))  # type: ignore[misc]
                for place in range(len(items))
            ])  # fmt: skip
            hidden = block.filter_norm(hidden + filtered)
            hidden = block.norm(hidden + block.contract(F.gelu(block.expand(hidden))))
        expected.append(hidden)
    torch.testing.assert_close(model(HISTORIES, REAL), torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_the_output_is_tied_to_the_items_without_bias() -> None:
    model = FMLP(SCHEMA, dim=16)
    queries = torch.randn(4, 16)
    torch.testing.assert_close(model.scores(queries), queries @ model.item.weight[:30].T)


def test_weights_start_as_stated() -> None:
    model = FMLP(Schema(2000, 500, 1), dim=64)
    assert [block.filter.shape for block in model.blocks] == [(500, 64), (500, 64)]
    for weight in (model.item.weight[:2000], model.blocks[0].filter, model.blocks[0].expand.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (model.item.weight[2000] == 0).all()


def test_dropout_works_in_training_alone() -> None:
    model = FMLP(SCHEMA, dim=16, dropout=0.5)
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.eval()
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
