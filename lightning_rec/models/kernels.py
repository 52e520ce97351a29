"""The same arithmetic, done sooner: matrix products and dropout masks on a CPU.

Each function here has a plain form in torch, which the tests hold it against. Within :func:`plain`
all of them take that form, which is how what they buy is measured.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")
_state = {"plain": False}


@contextmanager
def plain(switch: bool = True) -> Iterator[None]:
    """Within, nothing but torch's own forms."""
    before, _state["plain"] = _state["plain"], switch
    try:
        yield
    finally:
        _state["plain"] = before


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` without a gradient: float [M, K], [N, K], [N] -> [M, N].

    torch sends 32-bit products on a CPU to MKL, which keeps to half the vector width on processors
    that are not Intel's; oneDNN, which torch ships as well, does not.
    """
    if _ONEDNN and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu":
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            _dense(x), _dense(weight), bias, "none", [], ""
        )
        return result
    return F.linear(x, weight, bias)


def _dense(x: Tensor) -> Tensor:
    """A matrix whose rows or columns lie side by side; oneDNN is of no use for others.

    Gradients of means and of slices are such others.
    """
    return x if x.is_contiguous() or (x.dim() == 2 and x.T.is_contiguous()) else x.contiguous()


class _Linear(torch.autograd.Function):
    """A linear map whose three products all go through :func:`product`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        inputs, flat = x.flatten(0, -2), grad.flatten(0, -2)
        grad_weight = None
        if ctx.needs_input_grad[1]:  # oneDNN is faster with the wider side last
            if weight.shape[0] >= weight.shape[1]:
                grad_weight = product(inputs.T, flat.T).T
            else:
                grad_weight = product(flat.T, inputs.T)
        return (
            product(flat, weight.T).view(x.shape) if ctx.needs_input_grad[0] else None,
            grad_weight,
            flat.sum(0) if ctx.biased else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``: float [..., K], [N, K], [N] -> [..., N]."""
    fast = _ONEDNN and not _state["plain"] and x.device.type == "cpu" and x.numel() > 0
    if not fast or torch.is_autocast_enabled("cpu") or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    mapped: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return mapped


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with chance ``p`` and scale the rest by ``1 / (1 - p)``.

    torch draws a CPU mask one number for each element, one element at a time. Here each 64-bit
    draw is cut into four: elements are as independent as before, and the chance is ``p``
    rounded to a multiple of 1 / 65,536.
    """
    if _state["plain"] or x.device.type != "cpu":
        return F.dropout(x, p)
    threshold = round(p * 65536)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= threshold - 32768
    return x * kept.to(x.dtype).mul_(65536 / (65536 - threshold))


def attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, p: float
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, equation 1), weights dropped by ``p``.

    Args:
        query: float [B, H, Q, C].
        key: float [B, H, L, C].
        value: as ``key``.
        visible: bool, broadcast to [B, H, Q, L]: what each place may look at; None lets each see
            itself and what came before (Q = L).
        p: chance of a weight to be dropped. torch's fused kernel for CPUs knows no dropout, and
            its other form draws masks as slowly as above.

    Returns:
        float [B, H, Q, C].
    """
    if p == 0 or _state["plain"] or query.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=p, is_causal=visible is None
        )
    if visible is None:
        visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    weights = weights.masked_fill(~visible, -torch.inf).softmax(dim=-1)
    return dropout(weights, p) @ value
