"""Cross-entropy over the whole catalogue, in blocks that stay in the processor's cache."""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.split import Split
from lightning_rec.losses.base import Loss, Predictions
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.base import InnerProduct, SequenceModel


class FullSoftmax(Loss):
    """Cross-entropy over the whole catalogue (BERT4Rec, equation 8).

    Where the score is an inner product, the scores of ``block`` predictions at a time are made,
    used for the gradients and forgotten: the same sum, without M x num_items numbers in memory.

    Args:
        block: predictions scored at once on a CPU; a GPU takes as many as keep it busy.
        split: whose items without training events are left out, so that no one learns that they
            are never asked for; None leaves none out.
    """

    kind = "sequences"

    def __init__(self, block: PositiveInt = 256, split: Split | None = None) -> None:
        super().__init__()
        self.block = block
        cold = split is not None and split.num_trained < split.num_items
        self.trained = split.num_trained if split is not None and cold else None

    def per_target(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Float [M]. All M x num_items scores are kept for the gradients, unlike for the mean."""
        scores = model.scores(predictions.queries)[:, : self.trained]
        return F.cross_entropy(scores, predictions.targets, reduction="none")

    def mean(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Mean over the M predictions -> scalar."""
        queries, targets = predictions.queries, predictions.targets
        if not isinstance(model, InnerProduct):
            return F.cross_entropy(model.scores(queries)[:, : self.trained], targets)
        weight, bias = model.vectors()
        weight, bias = weight[: self.trained], None if bias is None else bias[: self.trained]
        row = 4 * len(weight)  # bytes
        block = bytes_at_once(queries.device, self.block * row) // row
        return linear_cross_entropy(queries, weight, bias, targets, block)


def linear_cross_entropy(
    queries: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, block: int = 256
) -> Tensor:
    """``cross_entropy(queries @ weight.T + bias, targets)``, ``block`` rows of it at a time.

    Of float [M, Q], float [V, Q], float [V] or None, and int64 [M] a scalar, whose gradients are
    made in the forward pass and scaled in the backward pass.
    """
    if torch.is_autocast_enabled(queries.device.type):
        kind = torch.get_autocast_dtype(queries.device.type)
    else:
        kind = queries.dtype
    arguments = (queries, weight, bias, targets, block, kind)
    return _LinearCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]


class _LinearCrossEntropy(torch.autograd.Function):
    """Products in ``kind``, everything between them in 32 bits."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        block: int,
        kind: torch.dtype,
    ) -> Tensor:
        number = len(queries)
        small, small_weight = queries.to(kind), weight.to(kind)
        grad_queries = torch.empty_like(queries)
        grad_weight = torch.zeros_like(weight.T)  # [Q, V]
        grad_bias = None if bias is None else torch.zeros_like(bias)
        total = torch.zeros((), dtype=torch.float64, device=queries.device)
        # One buffer for all blocks: memory that is new each time is given to us page by page.
        buffer = small.new_empty(min(block, number), len(weight))
        for start in range(0, number, block):
            rows = slice(start, start + block)
            x, target = small[rows], targets[rows, None]
            scores = torch.mm(x, small_weight.T, out=buffer[: len(x)]).float()
            if bias is not None:
                scores += bias
            share = torch.softmax(scores, dim=1, out=scores)
            target_share = share.gather(1, target)
            # A probability too small for 32 bits has a loss of 87; its gradient is still right.
            total -= target_share.clamp_min(torch.finfo(torch.float32).tiny).log().sum()
            share.scatter_add_(1, target, torch.full_like(target_share, -1.0))
            if grad_bias is not None:
                grad_bias += share.sum(0)
            share = share.to(kind)
            grad_queries[rows] = share @ small_weight
            if kind == grad_weight.dtype:
                grad_weight.addmm_(x.T, share)
            else:
                grad_weight += x.T @ share
        ctx.save_for_backward(grad_queries, grad_weight, grad_bias)
        ctx.number = number
        return (total / number).to(queries.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries, weight, bias = ctx.saved_tensors
        grad = grad / ctx.number
        return queries * grad, (weight * grad).T, bias if bias is None else bias * grad, *[None] * 3
