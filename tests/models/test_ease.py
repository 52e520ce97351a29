"""EASE against what it minimises: for each item a ridge regression on all the others."""

import numpy as np
import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.ease import EASE, weights_of

L2 = 3.0


def sets_of(split: Split) -> np.ndarray:
    """Users x items of 0 and 1."""
    sets = np.zeros((split.num_users, split.num_items))
    for user, (start, end) in enumerate(zip(split.offsets[:-1], split.train_end, strict=True)):
        for item in split.items[start:end]:
            sets[user, item] = 1
    return sets


def regressions(sets: np.ndarray) -> np.ndarray:
    """Column j: the weights of the others that explain item j best, none of its own."""
    items = sets.shape[1]
    weights = np.zeros((items, items))
    for item in range(items):
        others = np.delete(np.arange(items), item)
        x, y = sets[:, others], sets[:, item]
        weights[others, item] = np.linalg.solve(x.T @ x + L2 * np.eye(items - 1), x.T @ y)
    return weights


@pytest.fixture
def model(leave_one_out: Split) -> EASE:
    split = leave_one_out
    model = EASE(Schema(split.num_items, 10, split.num_users), l2=L2)
    model.fit(split)
    return model


def test_no_item_explains_itself_and_the_others_do_so_best(
    model: EASE, leave_one_out: Split
) -> None:
    wanted = regressions(sets_of(leave_one_out))
    np.testing.assert_allclose(model.weight.numpy().T, wanted, atol=1e-6)


def test_a_history_is_scored_as_a_set(model: EASE, leave_one_out: Split) -> None:
    weights = regressions(sets_of(leave_one_out))
    history = torch.tensor([[5, 9, 5, leave_one_out.num_items]])  # the last is padding
    found = model.scores(model(Histories(history, torch.tensor([0])), torch.tensor([2])))[0]
    np.testing.assert_allclose(found.numpy(), weights[5] + weights[9], atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_blocks_change_nothing(rows: int) -> None:
    chance = np.random.default_rng(0)
    x = chance.random((50, 11))
    gram = x.T @ x + np.eye(11)
    inverse = np.linalg.inv(gram)
    wanted = -inverse / np.diag(inverse)[:, None] * (1 - np.eye(11))
    found = np.full((11, 11), np.nan, dtype=np.float32)
    weights_of(gram, found, block_bytes=rows * 8 * 11)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_large_catalogue_is_refused_with_what_it_would_cost() -> None:
    with pytest.raises(UserError, match=r"30\.0 GB of memory .* 10\.0 GB .* model=itemknn"):
        EASE(Schema(50_000, 10, 10))
