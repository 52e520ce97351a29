"""Time and mean loss of each epoch, and the first loss that is not finite."""

import time
from typing import Any

import torch
from torch import Tensor

from lightning_rec.errors import UserError


class Epochs:
    """Follows the loss and the time of each epoch, without waiting for the device at each step.

    Attributes:
        mean_loss: float scalar, over the batches of the epoch so far.
        seconds: of each epoch, validation included.
        earlier_cpu_seconds: processor time until the checkpoint that this process goes on from.
    """

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.earlier_cpu_seconds, self._cpu_before = 0.0, time.process_time()
        self.begin(0, torch.device("cpu"))

    def begin(self, step: int, device: torch.device) -> None:
        """An epoch begins at this step."""
        self.start, self.first_step = time.perf_counter(), step
        self.bad_loss = torch.zeros((), device=device)
        self.bad_batch = torch.tensor(-1, device=device)  # the first of the epoch, if there is one
        self.mean_loss = torch.zeros((), device=device)

    def update(self, loss: Tensor, batch: int) -> None:
        """Take in the loss of a batch, float scalar."""
        self.mean_loss = torch.lerp(self.mean_loss, loss, 1 / (batch + 1))
        first = ~loss.isfinite() & (self.bad_batch < 0)
        self.bad_batch = torch.where(first, batch, self.bad_batch)
        self.bad_loss = torch.where(first, loss, self.bad_loss)

    def end(self, epoch: int, accumulated: int) -> None:
        """End an epoch. Raises UserError naming its first step and batch of non-finite loss."""
        batch = int(self.bad_batch)  # once an epoch: each look waits for the device
        if batch >= 0:
            raise UserError(
                f"train/loss is {self.bad_loss.item()} at step "
                f"{self.first_step + batch // accumulated}, batch {batch} of epoch {epoch}: lower "
                "optimizer.lr, or clip harder with trainer.gradient_clip_val. Checkpoints of "
                "earlier epochs are kept."
            )
        self.seconds.append(time.perf_counter() - self.start)

    def cost(self) -> dict[str, float]:
        """How many epochs there were, and how long one took, validation included."""
        number, total = len(self.seconds), sum(self.seconds)
        return {"epochs": number, "epoch_seconds": round(total / max(1, number), 3)}

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, the one under way included: tensors and numbers."""
        return {
            "first_step": self.first_step,
            "bad_loss": self.bad_loss,
            "bad_batch": self.bad_batch,
            "mean_loss": self.mean_loss,
            "seconds": time.perf_counter() - self.start,
            "epoch_seconds": self.seconds,
            "cpu_seconds": self.earlier_cpu_seconds + time.process_time() - self._cpu_before,
        }

    def load_state_dict(self, found: dict[str, Any], device: torch.device) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.first_step, self.seconds = found["first_step"], found["epoch_seconds"]
        self.bad_loss, self.bad_batch, self.mean_loss = (
            found[name].to(device) for name in ("bad_loss", "bad_batch", "mean_loss")
        )
        self.start = time.perf_counter() - found["seconds"]
        self.earlier_cpu_seconds = found.get("cpu_seconds", 0.0)
