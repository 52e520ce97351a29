"""An optimizer for sparse gradients, and whether any optimizer fits a training."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_rec.ranges import BelowOne


class LazyAdamW(Optimizer):
    """AdamW (Loshchilov and Hutter, 2019) that leaves rows without gradient alone.

    Where a gradient is sparse, as that of an item table with ``model.sparse=true`` is, moments,
    decay and update touch its rows only, and a step does not depend on the size of the catalogue.
    Rows that were left alone keep their old moments, as in ``torch.optim.SparseAdam``. Dense
    gradients are treated as AdamW treats them.

    Args:
        weight_decay: decoupled decay, as a share of ``lr``.
        betas: decay of the first and of the second moment.
        eps: added to the root of the second moment.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: PositiveFloat = 0.001,
        weight_decay: NonNegativeFloat = 0.0,
        betas: tuple[BelowOne, BelowOne] = (0.9, 0.999),
        eps: PositiveFloat = 1e-8,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "betas": tuple(betas), "eps": eps}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step. Returns what ``closure`` returns, if there is one."""
        with torch.enable_grad():
            result = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return result

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = (torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        step = float(state["step"])
        gradient = parameter.grad
        assert gradient is not None
        if not gradient.is_sparse:
            change = _adam(gradient, state["mean"], state["square"], step, group)
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(change)
            return
        gradient = gradient.coalesce()
        rows, values = gradient.indices()[0], gradient.values()
        mean, square = state["mean"][rows], state["square"][rows]
        change = _adam(values, mean, square, step, group)
        state["mean"][rows], state["square"][rows] = mean, square
        kept = parameter[rows] * (1 - group["lr"] * group["weight_decay"])
        parameter[rows] = kept - change


_NEVER = {
    "maximize": "the loss would grow",
    "differentiable": "nothing here differentiates a step",
    "capturable": "no CUDA graph is recorded here",
}


def check_optimizer(
    make: Callable[[Iterable[nn.Parameter]], Optimizer], *, sparse: bool, dense: bool
) -> Optimizer:
    """The optimizer that ``make`` makes, after a trial step on a small matrix of each gradient.

    ``sparse``, ``dense``: which gradients there are. Raises ValueError saying what it cannot do.
    """
    with torch.device("cpu"):  # also where a model is being built without memory
        zeros = torch.zeros(2, 2)
        matrices = [nn.Parameter(zeros.clone()) for used in (dense, sparse) if used]
        optimizer = make(matrices)
    for key, why in _NEVER.items():
        if optimizer.defaults.get(key):
            raise ValueError(f"{key}=True: {why}")
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ValueError(
            f"{type(optimizer).__name__} computes the loss of a batch many times for one step, "
            "and a training computes it once"
        )
    for matrix in matrices:
        matrix.grad = zeros.clone()
    if sparse:
        matrices[-1].grad = zeros.to_sparse(1)
    try:
        with torch.device("cpu"):  # what it remembers
            optimizer.step()
    except RuntimeError as error:
        hint = ". Of sparse gradients lazy_adamw learns, or sgd or adagrad without weight_decay"
        raise ValueError(f"{str(error).rstrip('.')}{hint * sparse}") from error
    return optimizer


def _adam(
    gradient: Tensor, mean: Tensor, square: Tensor, step: float, group: dict[str, Any]
) -> Tensor:
    """Move both moments in place; what to subtract, like ``gradient``."""
    beta1, beta2 = group["betas"]
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    root = (square / (1 - beta2**step)).sqrt_().add_(group["eps"])
    return mean / root * (group["lr"] / (1 - beta1**step))
