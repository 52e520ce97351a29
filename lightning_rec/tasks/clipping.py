"""Clipping of gradients by their common norm, of sparse gradients too."""

from collections.abc import Iterable

import torch
from torch import nn

from lightning_rec.errors import UserError


def clip_norm(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """``torch.nn.utils.clip_grad_norm_``, for sparse gradients as well."""
    values = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()  # else rows read twice count apart
            values.append(parameter.grad.values())
        elif parameter.grad is not None:
            values.append(parameter.grad)
    norm = nn.utils.get_total_norm(values)
    for value in values:
        value.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))


def clipped(model: nn.Module, limit: float | None, algorithm: str | None, *, half: bool) -> bool:
    """Whether sparse or ``half`` (bf16) gradients were clipped here, which Lightning cannot."""
    sparse = any(p.grad is not None and p.grad.is_sparse for p in model.parameters())
    if not limit or not (sparse or half):
        return False
    if sparse and algorithm not in (None, "norm"):
        raise UserError(
            f"trainer.gradient_clip_algorithm={algorithm} is not for sparse gradients: use norm."
        )
    if sparse:
        clip_norm(model.parameters(), limit)
    else:
        nn.utils.clip_grad_norm_(model.parameters(), limit)
    return True
