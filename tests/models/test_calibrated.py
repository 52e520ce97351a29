"""Temperatures against an independent minimiser, and probabilities of one goal given another."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.models.clicks.calibrated import Calibrated, after, fitted_temperature
from lightning_rec.models.clicks.deepfm import DeepFM


@pytest.mark.parametrize("wanted", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_one_with_the_lowest_logloss(wanted: float) -> None:
    chance = np.random.default_rng(0)
    z = chance.normal(size=20_000) * 2
    y = chance.random(len(z)) < 1 / (1 + np.exp(-z / wanted))
    found = fitted_temperature(torch.from_numpy(z).float(), torch.from_numpy(y).float())
    best = minimize_scalar(
        lambda t: log_loss(y, 1 / (1 + np.exp(-z / t))), bounds=(0.01, 50), method="bounded"
    ).x
    assert found == pytest.approx(best, rel=1e-3)
    assert found == pytest.approx(wanted, rel=0.1)


def test_labels_that_nothing_foretells_draw_probabilities_to_a_half() -> None:
    z, y = torch.tensor([9.0, 9.0, -9.0, -9.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert fitted_temperature(z, y) > 500
    assert fitted_temperature(-z, torch.tensor([1.0, 1.0, 0.0, 0.0])) > 500  # the wrong way round


def test_a_temperature_changes_no_order_and_nothing_while_training() -> None:
    schema = ClickSchema(
        (Field("a", "categorical", 1, 50, 1), Field("b", "categorical", 51, 40, 1))
    )
    torch.manual_seed(0)
    model = DeepFM(schema, dim=4, mlp=(5,), dropout=0, batch_norm=False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    calibrated = Calibrated(model, 1)
    calibrated.temperature[0] = 2.5
    ids = torch.stack([torch.randint(1, 51, (500,)), torch.randint(51, 91, (500,))], dim=1)
    rows, label = Rows(ids.int(), torch.zeros(500, 0)), torch.randint(2, (500,))
    with torch.no_grad():
        plain, cooled = model.eval()(rows), calibrated.eval()(rows)
        assert torch.equal(calibrated.train()(rows), model(rows))
    torch.testing.assert_close(cooled, plain / 2.5)
    assert roc_auc_score(label, cooled) == pytest.approx(roc_auc_score(label, plain), abs=1e-6)


def test_one_goal_given_another_is_the_quotient_of_their_probabilities() -> None:
    p, q = torch.tensor([0.5, 0.01, 0.999999, 0.3]), torch.tensor([0.25, 0.001, 0.5, 0.2999])
    found = torch.sigmoid(after(torch.logit(p.double()), torch.logit(q.double())))
    torch.testing.assert_close(found, q.double() / p.double(), rtol=1e-6, atol=0)
    sure = torch.sigmoid(after(torch.tensor([-1.0]), torch.tensor([2.0])))  # more than the first
    assert float(sure) > 1 - 1e-6
