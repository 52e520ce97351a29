"""Clipping of gradients by their common norm, sparse ones too, which torch does not."""

from collections.abc import Iterable

import torch
from torch import nn


def clip_norm(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scale all gradients so that their common norm is ``limit`` at most, in place.

    What ``torch.nn.utils.clip_grad_norm_`` does, for sparse gradients as well.
    """
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


def is_sparse(parameter: nn.Parameter) -> bool:
    """Whether the gradient of a parameter is sparse."""
    return parameter.grad is not None and parameter.grad.is_sparse
