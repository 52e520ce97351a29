"""Rows in order, against sorting by hand."""

import itertools
import math

import numpy as np
import pytest
import torch

from lightning_rec.metrics.order import in_order

FAR = [math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, -1.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("grouped", [True, False])
def test_it_is_what_sorting_tuples_says(dtype: torch.dtype, grouped: bool) -> None:
    chance = np.random.default_rng(0)
    near = 1 + np.arange(8) * 1e-12  # floats of 64 bits alone tell them apart
    several = np.concatenate([FAR, chance.normal(size=80).round(1), near])
    score = torch.from_numpy(chance.choice(several, 500)).to(dtype)
    label = torch.from_numpy(chance.integers(0, 2, 500)).float()
    group = torch.from_numpy(chance.integers(-1, 9, 500)).int()
    found = in_order(score, label, group if grouped else None)
    numbers = group.tolist() if grouped else [0] * 500
    rows = zip(numbers, (-score.double()).tolist(), label.tolist(), strict=True)
    wanted = sorted((g, s, y) for g, s, y in rows if g >= 0)
    assert found.group.tolist() == [g for g, _, _ in wanted]
    assert found.label.tolist() == [y for _, _, y in wanted]
    runs = [list(of) for _, of in itertools.groupby(wanted, key=lambda row: row[:2])]
    assert found.runs.group.tolist() == [of[0][0] for of in runs]
    assert found.runs.rows.tolist() == [len(of) for of in runs]
    assert found.runs.clicks.tolist() == [sum(y for _, _, y in of) for of in runs]


def test_nothing_in_order_is_nothing() -> None:
    found = in_order(torch.zeros(0), torch.zeros(0))
    assert [len(of) for of in (found.group, found.label, *found.runs)] == [0] * 5
