"""The interface of a loss: a value for each target, averaged, by weight where targets have one."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Loss(nn.Module, ABC):
    """A loss with a value for each target. A sub-class gives :meth:`per_target`, and no more.

    ``kind``: the problem that it is a loss of.
    """

    kind: ClassVar[str]
    __call__: Callable[..., Tensor]

    @abstractmethod
    def per_target(self, model: Any, predictions: Any) -> Tensor:
        """The loss of each of the M targets: float [M].

        ``predictions``: what ``model`` made, of the problem's own kind; see the sub-class.
        """

    def mean(self, model: Any, predictions: Any) -> Tensor:
        """The mean over the targets -> scalar. Overridden where one pass is cheaper than two."""
        return self.per_target(model, predictions).mean()

    def forward(self, model: Any, predictions: Any, weights: Tensor | None = None) -> Tensor:
        """The mean over the targets, by ``weights``, float [M], if there are any -> scalar.

        Targets whose weights are all 0 have a loss of 0.
        """
        if weights is None:
            return self.mean(model, predictions)
        each = self.per_target(model, predictions)
        tiny = torch.finfo(each.dtype).tiny
        return (each * weights).sum() / weights.sum().clamp(min=tiny)


class TorchLoss(Loss):
    """A loss that is one of torch's functions of what a sub-class gives in :meth:`compared`."""

    function: ClassVar[Callable[..., Tensor]] = staticmethod(functional.cross_entropy)

    @abstractmethod
    def compared(self, model: Any, predictions: Any) -> tuple[Tensor, Tensor]:
        """Input and target of ``function``, M rows each."""

    def per_target(self, model: Any, predictions: Any) -> Tensor:
        """Float [M]."""
        return self.function(*self.compared(model, predictions), reduction="none")

    def mean(self, model: Any, predictions: Any) -> Tensor:
        """Mean over the M targets -> scalar."""
        return self.function(*self.compared(model, predictions))


class Predictions(NamedTuple):
    """M queries of B sequences and their targets.

    queries: float [M, Q].
    targets: int64 [M] item codes, or of a loss of sets int64 [M, n], padded.
    row: int64 [M], the sequence each query belongs to.
    user: int64 [B], user code of each sequence.
    """

    queries: Tensor
    targets: Tensor
    row: Tensor
    user: Tensor


class Labelled(NamedTuple):
    """Logits of B rows and their labels, 0 or 1: float [B] each."""

    logit: Tensor
    label: Tensor


class Classified(NamedTuple):
    """Logits of W classes for M targets, float [M, W], and the right classes, int64 [M]."""

    logits: Tensor
    target: Tensor
