"""Learning rates, step by step."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler

from lightning_rec.tasks.schedules import (
    OneCycle,
    Plateau,
    cosine_restarts,
    multi_step_decay,
    step_decay,
    warmup_decay,
)


def rates(steps: int, lr: float = 0.5, **settings: Any) -> list[float]:
    """The rate of each step under ``warmup_decay``."""
    return followed(lambda optimizer: warmup_decay(optimizer, steps, **settings), steps, lr)


def followed(make: Callable[[Optimizer], Any], steps: int, lr: float = 0.5) -> list[float]:
    """The rate of each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


@pytest.mark.parametrize("decay", ["linear", "cosine", "none"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.33])
def test_it_rises_to_the_rate_then_falls(decay: Any, warmup: float) -> None:
    found = rates(100, warmup=warmup, decay=decay)
    top = math.ceil(warmup * 100)
    assert found[top] == pytest.approx(0.5)
    assert all(0 < rate <= 0.5 for rate in found)
    assert found[:top] == sorted(set(found[:top]))
    assert found[top:] == sorted(found[top:], reverse=True)
    if decay == "none":
        assert set(found[top:]) == {0.5}
    else:
        assert found[-1] < 0.02


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_it_ends_at_the_floor(decay: Any) -> None:
    found = rates(1000, decay=decay, warmup=0.05, floor=0.2)
    assert found[-1] == pytest.approx(0.1, rel=0.01)
    assert min(found[50:]) >= 0.1


def test_half_way_down() -> None:
    assert rates(200, warmup=0.0, decay="linear")[100] == pytest.approx(0.25)
    assert rates(200, warmup=0.0, decay="cosine")[100] == pytest.approx(0.25)
    assert rates(200, warmup=0.0, decay="cosine")[50] == pytest.approx(
        0.5 * (1 + math.cos(math.pi / 4)) / 2
    )


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_trainings_learn_at_every_step(steps: int) -> None:
    assert all(rate > 0 for rate in rates(steps, warmup=0.5))


def test_a_number_of_steps_to_warm_up() -> None:
    assert rates(200, warmup=20) == rates(200, warmup=0.1)
    assert rates(200, warmup=1)[1] == pytest.approx(0.5)


def test_a_rise_longer_than_the_training_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rates(10, warmup=500)
    assert "schedule.warmup=500 of 10 steps" in caplog.text


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (
            lambda o: warmup_decay(o, 60, warmup=0.0, decay="cosine"),
            lambda o: lr_scheduler.CosineAnnealingLR(o, 60),
        ),
        (lambda o: step_decay(o, 1, 7, 0.3), lambda o: lr_scheduler.StepLR(o, 7, 0.3)),
        (lambda o: step_decay(o, 1, 1, 0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (
            lambda o: multi_step_decay(o, 1, (30, 20, 45), 0.5),
            lambda o: lr_scheduler.MultiStepLR(o, [20, 30, 45], 0.5),
        ),
        (
            lambda o: cosine_restarts(o, 1, 5, 2),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5, 2),
        ),
        (
            lambda o: cosine_restarts(o, 1, 7),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7),
        ),
        (lambda o: OneCycle(o, 60), lambda o: lr_scheduler.OneCycleLR(o, 0.5, 60)),
    ],
)
def test_rates_are_torchs(ours: Any, torchs: Any) -> None:
    assert followed(ours, 60) == pytest.approx(followed(torchs, 60), abs=1e-12)


@pytest.mark.parametrize("make", [step_decay, multi_step_decay, cosine_restarts])
def test_epochs_are_so_many_steps(make: Any) -> None:
    """Of the first step of each epoch, cosines but for what they move within one."""
    by_epoch = followed(lambda o: make(o, 6), 600)
    by_step = followed(lambda o: make(o, 6, interval="step"), 100)
    assert by_epoch[::6] == pytest.approx(by_step)
    if make is not cosine_restarts:
        assert by_epoch[::6] == by_epoch[5::6]


def test_one_cycle_goes_on_when_the_training_becomes_longer() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    saved = OneCycle(optimizer, 10).state_dict()
    longer = OneCycle(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.1), 20)
    longer.load_state_dict(saved)
    assert longer.total_steps == 20
    with pytest.raises(ValueError, match=r"pct_start=0.1 of 10 steps is one step"):
        OneCycle(optimizer, 10, pct_start=0.1)


def test_a_plateau_cuts_the_rate_as_the_benchmark_does() -> None:
    """After every validation that is not better, tenfold, down to the floor."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    plateau = Plateau(optimizer, "val/auc", "max")
    found = []
    for auc in (0.7, 0.8, 0.8 + 9e-7, 0.79, 0.81, 0.8, 0.8, 0.8):
        plateau.step(auc)
        found.append(optimizer.param_groups[0]["lr"])
    wanted = [1e-3, 1e-3, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6, 1e-6]
    assert found == pytest.approx(wanted)
    assert plateau.monitor == "val/auc"
