"""VBPR against Cornac's formulas with equal weights, and what it says of items without events."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.items.base import Reading, item_node
from lightning_rec.losses.base import Predictions
from lightning_rec.losses.sampled import BPR
from lightning_rec.models.base import InnerProduct
from lightning_rec.models.classic.vbpr import VBPR
from lightning_rec.models.items.vectors import Projected

K, D, WIDTH, L2 = 3, 4, 6, 0.2
NOTHING = torch.zeros(0), torch.zeros(0)


def drawn(split: Split) -> np.ndarray[Any, Any]:
    chance = np.random.default_rng(0)
    return chance.normal(size=(split.num_items, WIDTH)).astype(np.float32)


@pytest.fixture
def model(leave_one_out: Split, tmp_path: Path) -> VBPR:
    return made(leave_one_out, tmp_path)


def made(split: Split, folder: Path) -> VBPR:
    """Over given vectors as they are, with all weights drawn."""
    names = pl.Series("item", [f"i{code}" for code in range(split.num_items)])
    path = folder / "vectors.parquet"
    pl.DataFrame({"item": names, "vector": drawn(split)}).write_parquet(path)
    kind = "lightning_rec.items.vectors.Vectors"
    node = item_node("item", {"_target_": kind, "path": str(path), "whiten": False})
    reading = Reading(names.to_frame(), names, split.num_trained, folder, Frozen())
    schema = Schema(split.num_items, 10, split.num_users)
    model = VBPR(schema, K, D, L2, items=node.items(reading))
    model.item.read()
    torch.manual_seed(0)
    for weight in (*model.parameters(),):
        nn.init.normal_(weight, std=0.5)
    nn.init.zeros_(of_map(model).bias)  # Cornac's has none: it adds one number to all scores
    model.fit(split)
    return model.eval()


def of_map(model: VBPR) -> nn.Linear:
    assert isinstance(model.item, Projected)
    assert isinstance(model.item.project, nn.Linear)
    return model.item.project


def of(users: Tensor) -> tuple[Histories, Tensor]:
    """One event of each user, and its place."""
    return Histories(torch.zeros(len(users), 1, dtype=torch.int64), users), torch.zeros_like(users)


def grads(*weights: Tensor) -> Tensor:
    """Gradients side by side."""
    found = [weight.grad for weight in weights if weight.grad is not None]
    assert len(found) == len(weights)
    return torch.cat(found, dim=-1)


class Cornac:
    """Cornac's loss and scores (recom_vbpr.py, Apache-2.0), by its names, in its order."""

    def __init__(self, model: VBPR, vectors: np.ndarray[Any, Any]) -> None:
        def leaf(weight: Tensor) -> Tensor:
            return weight.detach().clone().double().requires_grad_()

        self.features = torch.from_numpy(vectors).double()
        self.gamma_user, self.theta_user = map(leaf, model.user.weight.split([K, D], dim=1))
        self.gamma_item, self.beta_item = leaf(model.own.weight), leaf(model.bias)
        self.embedding = leaf(of_map(model).weight[:D].T)
        self.beta_prime = leaf(of_map(model).weight[D:].T)

    def loss(self, u: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """Of its batch, with the paper's one λ: Cornac takes a tenth of it for the bias of j."""
        gamma_u, theta_u = self.gamma_user[u], self.theta_user[u]
        gamma_i, gamma_j = self.gamma_item[i], self.gamma_item[j]
        beta_i, beta_j = self.beta_item[i], self.beta_item[j]
        feat_diff = self.features[i] - self.features[j]
        x_uij = (
            beta_i
            - beta_j
            + (gamma_u * (gamma_i - gamma_j)).sum(dim=1)
            + (theta_u * feat_diff.mm(self.embedding)).sum(dim=1)
            + feat_diff.mm(self.beta_prime)[:, 0]
        )
        read = (gamma_u, gamma_i, gamma_j, theta_u, beta_i, beta_j)
        return -F.logsigmoid(x_uij).sum() + L2 * sum(each.pow(2).sum() for each in read) / 2

    def score(self, user: int) -> Tensor:
        known = self.beta_item + (self.features @ self.beta_prime).ravel()
        seen = self.features @ self.embedding
        return known + self.gamma_item @ self.gamma_user[user] + seen @ self.theta_user[user]


def test_scores_are_cornacs(model: VBPR, leave_one_out: Split) -> None:
    theirs = Cornac(model, drawn(leave_one_out))
    with torch.no_grad():
        scores = model.scores(model(*of(torch.tensor([4, 9]))))
    for row, user in zip(scores, (4, 9), strict=True):
        torch.testing.assert_close(row.double(), theirs.score(user).detach(), rtol=1e-5, atol=1e-5)
    some = torch.tensor([[5, 0], [7, 7]])
    found = model.scores(model(*of(torch.tensor([4, 9]))), some)
    torch.testing.assert_close(found, scores.gather(1, some))


def test_loss_and_gradients_are_cornacs(
    model: VBPR, leave_one_out: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = Cornac(model, drawn(leave_one_out))
    users, better, worse = torch.tensor([[4, 9, 4], [1, 2, 2], [3, 3, 7]])
    model.train()
    queries = model(*of(users))
    loss = BPR(leave_one_out)
    valid = torch.ones(3, 1, dtype=torch.bool)
    monkeypatch.setattr(loss.sampler, "draw", lambda _: (worse[:, None], valid))
    ours = loss(model, Predictions(queries, better, torch.arange(3), users))
    ours = ours + model.penalty(*NOTHING)
    ours.backward()
    wanted = theirs.loss(users, better, worse) / 3  # a mean here, a sum there
    wanted.backward()
    torch.testing.assert_close(ours.double(), wanted, rtol=1e-6, atol=1e-6)
    for weight, grad in (
        (model.user.weight, grads(theirs.gamma_user, theirs.theta_user)),
        (model.own.weight, grads(theirs.gamma_item)),
        (model.bias, grads(theirs.beta_item)),
        (of_map(model).weight, grads(theirs.embedding, theirs.beta_prime).T),
    ):
        assert weight.grad is not None
        assert weight.grad.any()
        torch.testing.assert_close(weight.grad.double(), grad, rtol=1e-5, atol=1e-6)
    assert not of_map(model).bias.grad.abs().gt(1e-7).any()
    assert model.penalty(*NOTHING) == 0  # what was taken is gone


def test_an_item_without_events_is_scored_by_its_vector_alone(
    leave_one_out: Split, tmp_path: Path
) -> None:
    counts = leave_one_out.train_counts.copy()
    counts[-2:] = 0
    model = made(replace(leave_one_out, train_counts=counts), tmp_path)
    nn.init.zeros_(model.bias)
    theta = model.user.weight[[4, 9], K:]
    mapped = torch.from_numpy(drawn(leave_one_out)) @ of_map(model).weight.T  # [V, D + 1]
    wanted = theta @ mapped[:, :D].T + mapped[:, D]
    scores = model.scores(model(*of(torch.tensor([4, 9]))))
    torch.testing.assert_close(scores[:, -2:], wanted[:, -2:])
    assert not torch.isclose(scores[:, :-2], wanted[:, :-2]).any()


def test_users_without_events_are_ranked_by_biases_of_items_and_vectors(model: VBPR) -> None:
    model.known[4] = False
    strange, known = model.scores(model(*of(torch.tensor([4, 5]))))
    torch.testing.assert_close(strange, model.vectors().bias)
    assert not torch.allclose(known, strange)
    assert isinstance(model, InnerProduct)


def test_what_is_kept_in_evaluation_follows_the_weights(model: VBPR) -> None:
    with torch.no_grad():
        before = model.vectors().weight.clone()
        assert model.vectors().weight.data_ptr() == model.vectors().weight.data_ptr()
        of_map(model).weight.mul_(2)
        after = model.vectors().weight
    torch.testing.assert_close(after[:, K:], 2 * before[:, K:])
    torch.testing.assert_close(after[:, :K], before[:, :K])
