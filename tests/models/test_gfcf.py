"""GF-CF against dense matrices."""

import numpy as np
import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic.gfcf import GFCF
from lightning_rec.models.classic.parts import training_matrix


@pytest.mark.parametrize("rank", [1, 7, 256])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_scores_are_those_of_the_authors_code(
    leave_one_out: Split, rank: int, weight: float
) -> None:
    split = leave_one_out
    model = GFCF(Schema(split.num_items, 10, split.num_users), rank, weight)
    model.fit(split)
    sets = training_matrix(split).toarray().astype(np.float64)
    users, items = sets.sum(axis=1) ** -0.5, np.maximum(sets.sum(axis=0), 1) ** -0.5
    scaled = users[:, None] * sets * items
    right = np.linalg.svd(scaled, full_matrices=False)[2][:rank]
    asked = np.zeros(split.num_items)
    asked[[5, 9]] = 1
    wanted = asked @ scaled.T @ scaled
    wanted = wanted + weight * (asked @ np.diag(items) @ right.T @ right @ np.diag(1 / items))
    history = torch.tensor([[5, 9, 5, split.num_items]])  # the last is padding
    queries = model(Histories(history, torch.tensor([0])), torch.tensor([2]))
    np.testing.assert_allclose(model.scores(queries)[0].numpy(), wanted, atol=1e-5)


def test_fitting_twice_gives_the_same_bits(leave_one_out: Split) -> None:
    schema = Schema(leave_one_out.num_items, 10, leave_one_out.num_users)
    one, other = GFCF(schema, rank=6), GFCF(schema, rank=6)
    one.fit(leave_one_out)
    other.fit(leave_one_out)
    assert torch.equal(one.left, other.left)
