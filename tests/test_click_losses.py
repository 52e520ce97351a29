"""Losses with a value per target: means and weights of all of them, those of clicks by hand."""

import math
from typing import Any

import pytest
import torch

from lightning_rec.losses.base import Classified, Labelled, Loss
from lightning_rec.losses.clicks import FocalLoss, LogLoss, WeightedLogLoss
from lightning_rec.losses.words import WordCrossEntropy

ROWS = Labelled(torch.tensor([2.0, -1.0, 0.5, -3.0]), torch.tensor([1.0, 1.0, 0.0, 0.0]))
MODEL: Any = torch.nn.Identity()  # these losses do not ask it


def probabilities() -> list[tuple[float, float]]:
    """The probability of what came, and the label, of each row."""
    found = []
    for z, y in zip(*(each.tolist() for each in ROWS), strict=True):
        p = 1 / (1 + math.exp(-z))
        found.append((p if y else 1 - p, y))
    return found


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_is_that_of_equation_5(gamma: float, alpha: float | None) -> None:
    found = FocalLoss(gamma, alpha).per_target(MODEL, ROWS).tolist()
    for value, (p, y) in zip(found, probabilities(), strict=True):
        factor = 1.0 if alpha is None else alpha if y else 1 - alpha
        assert value == pytest.approx(-factor * (1 - p) ** gamma * math.log(p), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_rows_that_are_all_but_certain_have_gradients(gamma: float) -> None:
    logit = torch.tensor([200.0, -200.0, 200.0], requires_grad=True)
    FocalLoss(gamma)(MODEL, Labelled(logit, torch.tensor([1.0, 0.0, 0.0]))).backward()
    assert logit.grad is not None
    assert logit.grad.isfinite().all()
    assert logit.grad[2] > 0


def test_clicks_count_for_more() -> None:
    found = WeightedLogLoss(3.0).per_target(MODEL, ROWS).tolist()
    wanted = [-(3.0 if y else 1.0) * math.log(p) for p, y in probabilities()]
    assert found == pytest.approx(wanted, rel=1e-5)
    torch_own = torch.nn.functional.binary_cross_entropy_with_logits(
        *ROWS, pos_weight=torch.tensor(3.0)
    )
    assert float(WeightedLogLoss(3.0)(MODEL, ROWS)) == pytest.approx(float(torch_own))


@pytest.mark.parametrize("loss", [LogLoss(), WeightedLogLoss(2.0), FocalLoss()], ids=lambda x: type(x).__name__)  # fmt: skip
def test_means_are_by_weight(loss: Loss) -> None:
    each, weights = loss.per_target(MODEL, ROWS), torch.tensor([0.5, 0.0, 2.0, 1.0])
    assert float(loss(MODEL, ROWS)) == pytest.approx(float(each.mean()))
    wanted = float((each * weights).sum() / 3.5)
    assert float(loss(MODEL, ROWS, weights)) == pytest.approx(wanted)
    assert float(loss(MODEL, ROWS, torch.zeros(4))) == 0


def test_words_have_a_mean_even_where_there_are_none() -> None:
    loss, target = WordCrossEntropy(), torch.tensor([0, 2])
    logits = torch.tensor([[1.0, 2.0, 0.0], [0.5, 0.0, 3.0]])
    each = loss.per_target(MODEL, Classified(logits, target))
    assert each.tolist() == pytest.approx((-logits.log_softmax(1)[[0, 1], target]).tolist())
    assert float(loss(MODEL, Classified(logits, target))) == pytest.approx(float(each.mean()))
    assert float(loss(MODEL, Classified(logits[:0], target[:0]))) == 0
