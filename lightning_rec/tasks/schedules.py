"""Learning-rate schedules, as plain functions of the step."""

import math
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_decay(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05,
    decay: Literal["linear", "cosine", "none"] = "linear",
    floor: Annotated[float, Field(ge=0, le=1)] = 0.0,
) -> LambdaLR:
    """Rise linearly from 0 to the optimizer's rate, then decay to ``floor`` of it.

    Args:
        optimizer: whose rate is scheduled.
        total_steps: steps of the whole training.
        warmup: share of the steps that rise.
        decay: shape of the way down.
        floor: last rate, as a share of the highest.
    """
    rising = warmup * total_steps

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if decay == "none":
            return 1.0
        done = min(1.0, (step - rising) / max(1.0, total_steps - rising))
        left = 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return floor + (1 - floor) * left

    return LambdaLR(optimizer, factor)
