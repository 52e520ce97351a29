"""Learning rates, step by step."""

import math
from typing import Any

import pytest
import torch

from lightning_rec.tasks.schedules import Plateau, warmup_decay


def rates(steps: int, lr: float = 0.5, **settings: Any) -> list[float]:
    """The rate of each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = warmup_decay(optimizer, steps, **settings)
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
