"""Learning-rate schedules: of the step, and of a figure that stops getting better."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from lightning_rec.ranges import BelowOne, UpToOne


def warmup_decay(
    optimizer: Optimizer,
    total_steps: int,
    warmup: BelowOne = 0.05,
    decay: Literal["linear", "cosine", "none"] = "linear",
    floor: UpToOne = 0.0,
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


class Plateau(ReduceLROnPlateau):
    """Cuts the rate when more than ``patience`` validations in a row bring no better figure.

    Args:
        optimizer: whose rate is cut.
        monitor: the figure.
        mode: whether more or less of it is better.
        factor: what the rate is multiplied by.
        patience: validations without a better figure that are borne.
        min_delta: what counts as better.
        floor: rate below which it is not cut.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str,
        mode: Literal["max", "min"],
        factor: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        patience: NonNegativeInt = 0,
        min_delta: NonNegativeFloat = 1e-6,
        floor: NonNegativeFloat = 1e-6,
    ) -> None:
        super().__init__(
            optimizer,
            mode,
            factor,
            patience,
            threshold=min_delta,
            threshold_mode="abs",
            min_lr=floor,
        )
        self.monitor = monitor
