"""What follows a step of the optimizer: that of an adapter, and the second phase of an epoch."""

from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch.optim import Optimizer

from lightning_rec.errors import UserError
from lightning_rec.models.base import TwoPhases


def after_step(task: Any, optimizer: Optimizer | LightningOptimizer) -> None:
    """Let an adapter do what follows a step of ``task``, and end the epoch with the steps of a
    model of :class:`TwoPhases`.
    """
    if task.adapted is not None:
        task.adapted.after_step(task.global_step + 1)  # Lightning counts it later
    if isinstance(task.model, TwoPhases) and task.trainer.is_last_batch:
        if task.trainer.world_size > 1:
            raise UserError(
                f"{task.title} trains in one process, since its second phase exchanges no "
                "gradients: say trainer.devices=1."
            )
        raw = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        second_phase(task.model, raw)


def second_phase(model: TwoPhases, optimizer: Optimizer) -> None:
    """Take the steps, of which neither schedules nor counts of steps know."""
    with torch.enable_grad():
        optimizer.zero_grad()
        for loss in model.second_phase():
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
