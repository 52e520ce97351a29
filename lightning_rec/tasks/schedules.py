"""Learning-rate schedules: functions of the optimizer step, and of a validation figure.

All but :class:`Plateau` move with each optimizer step, those that count epochs too: they are told
the steps of an epoch. What depends on the length of the training is computed anew by a resumed run
and never read from its checkpoint, so that a raised ``trainer.max_epochs`` holds.
"""

import logging
import math
from bisect import bisect_right
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from lightning_rec.ranges import BelowOne, UpToOne

log = logging.getLogger(__name__)

Steps = Annotated[int, Field(gt=0, strict=True)]
Interval = Literal["epoch", "step"]
Between = Annotated[float, Field(gt=0, lt=1)]


def warmup_decay(
    optimizer: Optimizer,
    total_steps: int,
    warmup: BelowOne | Steps = 0.05,
    decay: Literal["linear", "cosine", "none"] = "linear",
    floor: UpToOne = 0.0,
) -> LambdaLR:
    """Rise linearly from 0 to the optimizer's rate, then decay to ``floor`` of it.

    ``warmup``: share of the ``total_steps`` of a training that rise, below 1, or their number.
    """
    rising = warmup * total_steps if warmup < 1 else warmup
    if rising >= total_steps:
        told = "schedule.warmup=%s of %s steps: the optimizer's rate is never reached."
        log.warning(told, warmup, total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if decay == "none":
            return 1.0
        done = min(1.0, (step - rising) / max(1.0, total_steps - rising))
        left = 1 - done if decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        return floor + (1 - floor) * left

    return LambdaLR(optimizer, factor)


def step_decay(
    optimizer: Optimizer,
    steps_per_epoch: int,
    step_size: PositiveInt = 10,
    gamma: UpToOne = 0.1,
    interval: Interval = "epoch",
) -> LambdaLR:
    """Multiply the rate by ``gamma`` each ``step_size`` epochs, or steps, by ``interval``.

    ``step_size=1`` is exponential decay.
    """
    every = step_size * (steps_per_epoch if interval == "epoch" else 1)
    return LambdaLR(optimizer, lambda step: gamma ** (step // every))


def multi_step_decay(
    optimizer: Optimizer,
    steps_per_epoch: int,
    milestones: tuple[PositiveInt, ...] = (30, 45),
    gamma: UpToOne = 0.1,
    interval: Interval = "epoch",
) -> LambdaLR:
    """Multiply the rate by ``gamma`` at each milestone, an epoch or a step by ``interval``."""
    unit = steps_per_epoch if interval == "epoch" else 1
    reached = sorted(milestones)
    return LambdaLR(optimizer, lambda step: gamma ** bisect_right(reached, step // unit))


def cosine_restarts(
    optimizer: Optimizer,
    steps_per_epoch: int,
    T_0: PositiveInt = 10,
    T_mult: PositiveInt = 1,
    floor: UpToOne = 0.0,
    interval: Interval = "epoch",
) -> LambdaLR:
    """Fall to ``floor`` of the rate along half a cosine, start again: SGDR.

    Loshchilov and Hutter, ICLR 2017, arXiv:1608.03983.

    ``T_0``: epochs or steps of the first cycle, by ``interval``; ``T_mult``: the length of a cycle
    over that of the one before it.
    """
    first = T_0 * (steps_per_epoch if interval == "epoch" else 1)

    def factor(step: int) -> float:
        length = first
        if T_mult == 1:
            step %= length
        while step >= length:
            step, length = step - length, length * T_mult
        return floor + (1 - floor) * (1 + math.cos(math.pi * step / length)) / 2

    return LambdaLR(optimizer, factor)


class OneCycle(OneCycleLR):
    """One rise of the rate and one fall, momentum the other way round: super-convergence.

    Smith and Topin, arXiv:1708.07120. The highest rate is the optimizer's own.

    Args:
        pct_start: share of the steps that rise.
        anneal_strategy: shape of rise and fall.
        cycle_momentum: whether momentum, or the first of ``betas``, moves as well.
        base_momentum: lowest momentum.
        max_momentum: highest momentum.
        div_factor: the first rate is the highest over it.
        final_div_factor: the last rate is the first over it.
        three_phase: fall as steeply as the rise, and then to the last rate.

    Raises ValueError if the rise is a single step, or the optimizer has no momentum to move.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        pct_start: Between = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: BelowOne = 0.85,
        max_momentum: BelowOne = 0.95,
        div_factor: PositiveFloat = 25.0,
        final_div_factor: PositiveFloat = 1e4,
        three_phase: bool = False,
    ) -> None:
        if pct_start * total_steps == 1:  # torch would divide by the length of the rise less one
            raise ValueError(
                f"pct_start={pct_start} of {total_steps} steps is one step: say more, or less"
            )
        super().__init__(
            optimizer,
            [group["lr"] for group in optimizer.param_groups],
            total_steps=total_steps,
            pct_start=pct_start,
            anneal_strategy=anneal_strategy,
            cycle_momentum=cycle_momentum,
            base_momentum=base_momentum,
            max_momentum=max_momentum,
            div_factor=div_factor,
            final_div_factor=final_div_factor,
            three_phase=three_phase,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run reads: not the length of the training, which it may raise."""
        lengths = ("total_steps", "_schedule_phases")
        return {key: value for key, value in super().state_dict().items() if key not in lengths}


class Plateau(ReduceLROnPlateau):
    """Cuts the rate when more than ``patience`` validations in a row bring no better figure.

    Args:
        monitor: the figure, of which more or less is better by ``mode``.
        factor: what the rate is multiplied by.
        patience: validations without a better figure that are tolerated.
        min_delta: what counts as better.
        floor: rate below which it is not cut.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        monitor: str,
        mode: Literal["max", "min"],
        factor: Between = 0.1,
        patience: NonNegativeInt = 0,
        min_delta: NonNegativeFloat = 1e-6,
        floor: NonNegativeFloat = 1e-6,
    ) -> None:
        limits: dict[str, Any] = {"threshold": min_delta, "threshold_mode": "abs", "min_lr": floor}
        super().__init__(optimizer, mode, factor, patience, **limits)
        self.monitor = monitor
