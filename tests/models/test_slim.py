"""SLIM against scikit-learn's elastic net, item by item."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.parts import training_matrix
from lightning_rec.models.classic.slim import SLIM


def nets(split: Split, l1: float, l2: float) -> np.ndarray:
    """Column j: the weights of the others that explain item j best, none below 0."""
    sets = training_matrix(split).toarray().astype(np.float64)
    users, items = sets.shape
    weights = np.zeros((items, items))
    for item in range(items):
        others = np.delete(np.arange(items), item)
        net = ElasticNet(
            alpha=(l1 + l2) / users, l1_ratio=l1 / (l1 + l2), positive=True, fit_intercept=False,
            tol=1e-10, max_iter=100_000,
        )  # fmt: skip
        weights[others, item] = net.fit(sets[:, others], sets[:, item]).coef_
    return weights


@pytest.mark.parametrize(("l1", "l2"), [(0.2, 3.0), (1.0, 0.5)])
def test_weights_are_those_of_an_elastic_net(leave_one_out: Split, l1: float, l2: float) -> None:
    schema = Schema(leave_one_out.num_items, 10, leave_one_out.num_users)
    model = SLIM(schema, l1=l1, l2=l2, tolerance=1e-8, sweeps=1000)
    model.fit(leave_one_out)
    wanted = nets(leave_one_out, l1, l2)
    assert 0 < (wanted > 0).mean() < 0.9
    np.testing.assert_allclose(model.near.scipy().toarray().T, wanted, atol=1e-5)
    history = torch.tensor([[5, 9, 5, leave_one_out.num_items]])  # the last is padding
    found = model.scores(model(Histories(history, torch.tensor([0])), torch.tensor([2])))[0]
    np.testing.assert_allclose(found.numpy(), wanted[5] + wanted[9], atol=1e-5)


def test_a_large_catalogue_is_refused_with_what_it_would_cost() -> None:
    with pytest.raises(UserError, match=r"40\.0 GB of memory.*model=itemknn"):
        SLIM(Schema(50_000, 10, 10))
