"""The relevance of judged pairs: the line that fits it, and how far off a prediction is."""

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error

from lightning_rec.metrics.matching import line, rmse


def test_the_line_is_that_of_least_squares() -> None:
    generator = torch.Generator().manual_seed(3)
    score, gain = torch.randn(40, generator=generator), torch.rand(40, generator=generator)
    slope, intercept = np.polyfit(score.double().numpy(), gain.double().numpy(), 1)
    assert line(score, gain) == pytest.approx((intercept, slope), abs=1e-9)
    assert line(torch.ones(4), torch.tensor([0.0, 1, 1, 1])) == (0.75, 0.0)
    expected = mean_squared_error(gain, score) ** 0.5
    assert rmse(score, gain).item() == pytest.approx(expected, abs=1e-6)
