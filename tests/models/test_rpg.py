"""RPG against its equations, digit by digit, and codes from wherever they come."""

import math

import numpy as np
import pytest
import torch
from models.test_contract import ITEMS, MAX_LEN, USERS, eight_users, histories, some
from torch.nn import functional as F

from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.likelihood import Likelihood
from lightning_rec.models.events import event_vectors
from lightning_rec.models.sequential.rpg import RPG

SCHEMA = Schema(ITEMS, MAX_LEN, USERS)
K, LEVELS = 8, 4


@pytest.fixture
def model() -> RPG:
    torch.manual_seed(0)
    made = RPG(SCHEMA, dim=16, heads=2, inner=32, levels=LEVELS, codes=K, temperature=0.1)
    made.fit(eight_users())
    torch.nn.init.normal_(made.head, std=0.5)
    return made.eval()


def test_scores_are_the_mean_of_what_each_digit_says(model: RPG) -> None:
    items = some(3, 5)
    queries = model(histories(items), torch.full((3,), 4))
    codes = model.codes - K * torch.arange(LEVELS)
    assert codes.min() >= 0
    assert codes.max() < K
    vectors = model.of_code.weight[model.codes[items]].mean(dim=2)  # equation 1
    hidden = model.body(inputs_embeds=vectors).last_hidden_state[:, -1]
    scores = torch.zeros(3, ITEMS)
    for level in range(LEVELS):
        state = hidden + F.silu(F.linear(hidden, model.head[level], model.head_bias[level, 0]))
        of_level = model.of_code.weight[level * K : (level + 1) * K]
        cosine = F.cosine_similarity(state[:, None], of_level[None], dim=2)
        scores += (cosine / 0.1).log_softmax(dim=1)[:, codes[:, level]] / LEVELS
    torch.testing.assert_close(model.scores(queries), scores)
    targets = torch.tensor([3, 1, 4])
    predictions = Predictions(queries, targets, torch.arange(3), torch.zeros(3))
    loss = Likelihood()(model, predictions)
    torch.testing.assert_close(loss, -scores[torch.arange(3), targets].mean())


def test_what_has_the_same_codes_has_the_same_score_to_the_bit(model: RPG) -> None:
    model.codes[5] = model.codes[2]
    queries = model(histories(some(4, 6)), torch.full((4,), 5))
    whole = model.scores(queries)
    assert torch.equal(whole[:, 5], whole[:, 2])
    own = model.scores(queries, torch.tensor([[5, 2]] * 4))
    assert torch.equal(own[:, 0], own[:, 1])


def test_codes_of_vectors_and_of_a_table(model: RPG) -> None:
    before = model.codes.clone()
    vectors = torch.randn(ITEMS, 8, generator=torch.Generator().manual_seed(1))
    vectors[7] = vectors[3]
    model.read_vectors(vectors)
    assert not torch.equal(model.codes, before)
    assert torch.equal(model.codes[7], model.codes[3])
    model.read_codes(before, (K,) * LEVELS)
    assert torch.equal(model.codes, before)
    with pytest.raises(UserError, match=r"levels of \[8, 8\] codes and model has 4 of 8"):
        model.read_codes(before[:, :2], (K, K))


@pytest.mark.parametrize("dense", [256, 1])  # all singular vectors at once, or a few of many
def test_event_vectors_are_those_of_the_singular_values(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.models.events.DENSE", dense)
    split = eight_users()
    matrix = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        matrix[user, split.items[split.offsets[user] : split.train_end[user]]] = 1
    even = matrix / np.sqrt(np.maximum(matrix.sum(axis=1, keepdims=True), 1))
    even /= np.sqrt(np.maximum(matrix.sum(axis=0, keepdims=True), 1))
    made = event_vectors(split, 30).double().numpy()
    np.testing.assert_allclose(made @ made.T, even.T @ even, atol=1e-6)  # all of its rank
    assert made.shape == (ITEMS, 30)
    few = event_vectors(split, 2).double().numpy()
    values = np.linalg.svd(even, compute_uv=False)
    lost = np.square(even.T @ even - few @ few.T).sum()
    assert math.isclose(lost, (values[2:] ** 4).sum(), rel_tol=1e-5)
    assert (made[np.asarray(split.train_counts) == 0] == 0).all()
