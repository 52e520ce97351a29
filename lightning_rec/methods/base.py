"""The interface of a training method."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer


class Trained(Protocol):
    """What a method knows of the task that it trains."""

    model: nn.Module
    restored: dict[str, Any]  # of a checkpoint that training goes on from; empty at its beginning

    def training_loss(self, batch: Any) -> Tensor:
        """The loss of a batch, penalties included: float scalar."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters that are trained, with learning rates of their own where they have such."""
        ...

    def make_optimizer(self, parameters: Iterable[Any]) -> Optimizer:
        """The optimizer of the config over some parameters, or groups of them."""
        ...


class Method:
    """How a training step is made; this one is plain gradient descent.

    A sub-class overrides what it does otherwise, such as a second backward pass on perturbed
    embeddings (adversarial training), noise on gradients before a step (DP-SGD), or optimizers that
    take turns.

    ``automatic``: whether Lightning calls backward and steps the optimizer; else :meth:`step` does
    so itself, as in Lightning's manual optimization. ``same_data``: whether the runs that it reads
    have to be of the same data and protocol; ``takes_weights``: whether it takes over their
    weights by name, for which items, fields and columns have to be those of the runs as well;
    ``elsewhere``: whether they are of other users and items.
    """

    automatic: ClassVar[bool] = True
    same_data: ClassVar[bool] = True
    takes_weights: ClassVar[bool] = False
    elsewhere: ClassVar[bool] = False

    @property
    def reads(self) -> dict[str, str]:
        """Folders of completed runs that it reads, by key."""
        return {}

    def begin(self, task: Trained, data: Any, before: Callable[[str], Any]) -> dict[str, Any]:
        """Called once, before the training of a fresh model; returns facts for the card.

        ``before``: what a run of earlier data knew, by its folder; see :class:`Before`.
        """
        return {}

    def optimizers(self, task: Trained) -> list[Optimizer]:
        """The optimizers of a training; one, unless the method is not ``automatic``."""
        return [task.make_optimizer(task.parameter_groups())]

    def step(self, task: Trained, batch: Any, batch_idx: int) -> Tensor:
        """The loss that backward is called on: float scalar."""
        return task.training_loss(batch)

    def before_optimizer_step(self, task: Trained, optimizer: Optimizer) -> None:
        """Change gradients, which are there and not yet clipped."""
