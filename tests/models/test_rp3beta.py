"""RP3beta against a walk along every path."""

import numpy as np
import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic import rp3beta
from lightning_rec.models.classic.parts import training_matrix
from lightning_rec.models.classic.rp3beta import RP3Beta


def highest(matrix: np.ndarray, number: int) -> np.ndarray:
    """Each row's highest, the rest 0."""
    kept = np.zeros_like(matrix)
    for row, place in enumerate(np.argsort(-matrix, axis=1, kind="stable")[:, :number]):
        kept[row, place] = matrix[row, place]
    return kept


def walked(split: Split, alpha: float, beta: float, number: int, normalise: bool) -> np.ndarray:
    """Row i, column j: from an item of the history to one that is scored."""
    sets = training_matrix(split).toarray().astype(np.float64)
    users, items = sets.sum(axis=1), sets.sum(axis=0)
    walk = np.zeros((split.num_items, split.num_items))
    for user, row in enumerate(sets):
        for i in np.flatnonzero(row):
            for j in np.flatnonzero(row):
                if i != j:
                    walk[i, j] += (1 / items[i]) ** alpha * (1 / users[user]) ** alpha
    walk /= np.maximum(items, 1) ** beta
    walk = highest(walk, number)
    if normalise:
        walk /= np.where(walk.sum(axis=1) > 0, walk.sum(axis=1), 1)[:, None]
    return highest(walk.T, number).T


def fitted(split: Split, *settings: float) -> RP3Beta:
    model = RP3Beta(Schema(split.num_items, 10, split.num_users), *settings)
    model.fit(split)
    return model


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, 0.6), (0.7, 1.3)])
def test_scores_are_of_three_steps(
    leave_one_out: Split, alpha: float, beta: float, normalise: bool
) -> None:
    wanted = walked(leave_one_out, alpha, beta, 1000, normalise)
    model = fitted(leave_one_out, alpha, beta, 1000, normalise)
    history = torch.tensor([[5, 9, 5, leave_one_out.num_items]])
    found = model.scores(model(Histories(history, torch.tensor([0])), torch.tensor([2])))[0]
    np.testing.assert_allclose(found.numpy(), wanted[5] + wanted[9], atol=1e-6, rtol=1e-5)


def test_few_neighbours_are_kept_from_each_item_and_to_each_item(
    leave_one_out: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = walked(leave_one_out, 1.0, 0.37, 4, normalise=False)
    near = fitted(leave_one_out, 1.0, 0.37, 4).near.scipy().toarray()
    alike = np.isclose(near.T, wanted, atol=1e-7).mean()
    assert alike > 0.99  # ties among the last may be kept in another order
    assert (near > 0).sum(axis=1).max() <= 4
    monkeypatch.setattr(rp3beta, "BLOCK_BYTES", 7 * 4 * leave_one_out.num_items)
    again = fitted(leave_one_out, 1.0, 0.37, 4).near.scipy().toarray()
    np.testing.assert_array_equal(again, near)
