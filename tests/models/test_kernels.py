"""The fast forms against torch's own."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.models import kernels


def gradients(result: Tensor, *inputs: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    return list(torch.autograd.grad((result * torch.randn_like(result)).sum(), inputs))


@pytest.mark.parametrize("shape", [(5, 16), (3, 7, 16), (1, 1, 16)])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("width", [9, 16, 40])
def test_linear_and_its_gradients(shape: tuple[int, ...], width: int, biased: bool) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(shape), torch.randn(width, 16)] + [torch.randn(width)] * biased
    inputs = [tensor.requires_grad_() for tensor in inputs]
    fast, plain = kernels.linear(*inputs), F.linear(*inputs)
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(gradients(fast, *inputs), gradients(plain, *inputs))


def test_linear_of_a_strided_view_and_of_nothing() -> None:
    x, weight = torch.randn(6, 4).T, torch.randn(3, 6)
    torch.testing.assert_close(kernels.linear(x, weight), F.linear(x, weight))
    empty = torch.zeros(0, 6, requires_grad=True)
    assert kernels.linear(empty, weight).shape == (0, 3)


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_dropout_zeroes_the_stated_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((1000, 401), 2.0, requires_grad=True)
    dropped = kernels.dropout(x, p)
    kept = dropped != 0
    assert 1 - kept.double().mean().item() == pytest.approx(p, abs=0.003)
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 2 / (1 - p)), rtol=1e-4, atol=0)  # fmt: skip
    assert gradients(dropped, x)[0][~kept].abs().max() == 0
    # Neighbours, which come from one draw, are dropped independently of each other.
    together = (~kept[:, :-1] & ~kept[:, 1:]).double().mean().item()
    assert together == pytest.approx(p * p, abs=0.003)
    assert not torch.equal(kernels.dropout(x, p) != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(kernels.dropout(x, p) != 0, kept)


def heads(*shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape, requires_grad=True) for _ in range(3)]


def masks(length: int) -> dict[str, Tensor | None]:
    real = torch.arange(length) < torch.tensor([[length], [3]])
    return {"causal": None, "padding": real[:, None, None, :]}


@pytest.mark.parametrize("mask", ["causal", "padding"])
def test_attention_with_dropout_averages_to_attention_without(mask: str) -> None:
    query, key, value = heads(2, 2, 6, 8)
    visible = masks(6)[mask]
    plain = kernels.attention(query, key, value, visible, 0.0)
    draws = torch.stack(
        [kernels.attention(query, key, value, visible, 0.3).detach() for _ in range(4000)]
    )
    torch.testing.assert_close(draws.mean(0), plain, atol=0.06, rtol=0)
    assert draws.std(0).max() > 0.1


@pytest.mark.parametrize("mask", ["causal", "padding"])
def test_attention_with_hardly_any_dropout_is_attention(mask: str) -> None:
    inputs = heads(2, 2, 6, 8)
    visible = masks(6)[mask]
    torch.manual_seed(3)
    fast = kernels.attention(*inputs, visible, 1e-5)  # rounds to a chance of 1 / 65,536
    plain = kernels.attention(*inputs, visible, 0.0)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        gradients(fast, *inputs), gradients(plain, *inputs), atol=1e-4, rtol=1e-3
    )


def test_plain_is_torchs_own_to_the_bit() -> None:
    x, weight = torch.randn(5, 16), torch.randn(9, 16)
    with kernels.plain():
        assert torch.equal(kernels.linear(x, weight), F.linear(x, weight))
        torch.manual_seed(0)
        ours = kernels.dropout(x, 0.3)
        torch.manual_seed(0)
        assert torch.equal(ours, F.dropout(x, 0.3))
    torch.manual_seed(0)
    assert not torch.equal(kernels.dropout(x, 0.3), ours)
