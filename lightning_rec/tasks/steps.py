"""Steps of a problem: the loss of a training batch, predictions of an evaluation, figures."""

from abc import ABC, abstractmethod
from typing import Any, Literal

from torch import Tensor, nn

Stage = Literal["val", "test"]


class Steps(nn.Module, ABC):
    """The steps of one problem. Every method is given the task: its model, objective and loss."""

    @abstractmethod
    def loss_of(self, task: Any, batch: Any) -> Tensor:
        """The loss of a training batch, float scalar."""

    @abstractmethod
    def evaluate(self, task: Any, batch: Any, stage: Stage) -> None:
        """Predict a batch of validation or test, and update the metrics of the stage."""

    @abstractmethod
    def figures(self, task: Any, stage: Stage) -> dict[str, Tensor]:
        """Figures at the end of a stage, by name, without the stage; metrics are reset."""

    def before_training_batch(self, task: Any, batch_idx: int) -> None:
        """Called before each training batch, before torch is seeded at the start of an epoch."""

    def before_stage(self, task: Any, stage: Stage) -> None:
        """Called before the first batch of validation or test."""

    def progress(self) -> dict[str, Any]:
        """What a resumed training must find again: tensors, numbers and plain containers."""
        return {}

    def load_progress(self, found: dict[str, Any]) -> None:
        """Go on from what :meth:`progress` gave."""

    def calibrate(self, task: Any) -> dict[str, Any]:
        """Fit what is fitted to the latest validation; facts of it, for the card."""
        return {}
