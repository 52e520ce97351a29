"""BPR-MF against the paper's formulas, one number at a time."""

import math

import pytest
import torch
from torch import nn

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic.bprmf import BPRMF

NOTHING = torch.zeros(0), torch.zeros(0)


@pytest.fixture
def model(leave_one_out: Split) -> BPRMF:
    split = leave_one_out
    torch.manual_seed(0)
    model = BPRMF(Schema(split.num_items, 10, split.num_users), dim=3, l2=0.2)
    nn.init.normal_(model.bias)
    model.fit(split)
    return model.eval()


def of(*users: int) -> tuple[Histories, torch.Tensor]:
    """One event of each user, and its place."""
    items = torch.zeros(len(users), 1, dtype=torch.int64)
    return Histories(items, torch.tensor(users)), torch.zeros(len(users), dtype=torch.int64)


def test_the_score_is_an_inner_product_and_a_bias(model: BPRMF) -> None:
    scores = model.scores(model(*of(4, 9))).tolist()
    users, items, biases = (t.tolist() for t in (model.user.weight, model.item.weight, model.bias))
    for row, user in enumerate((4, 9)):
        for item in (0, 7):
            wanted = sum(p * q for p, q in zip(users[user], items[item], strict=True))
            assert scores[row][item] == pytest.approx(wanted + biases[item], abs=1e-6)


def test_users_without_training_events_are_ranked_by_the_biases(model: BPRMF) -> None:
    assert model.known.sum() == len(model.known)  # under leave_one_out all train
    model.known[4] = False
    strange, known = model.scores(model(*of(4, 5)))
    torch.testing.assert_close(strange, model.bias)
    assert not torch.allclose(known, model.bias)


def test_a_step_descends_by_the_gradients_of_the_paper(model: BPRMF) -> None:
    """Section 4.3.1: (1 - σ) times the difference, minus λ times the parameter."""
    model.train()
    users, better, worse = [4, 9], torch.tensor([[1], [2]]), torch.tensor([[3], [3]])
    queries = model(*of(*users))
    behind = model.scores(queries, worse) - model.scores(queries, better)
    (nn.functional.softplus(behind).mean() + model.penalty(*NOTHING)).backward()
    p, q, b = (t.detach().double() for t in (model.user.weight, model.item.weight, model.bias))
    grad_p, grad_q, grad_b = (torch.zeros_like(t) for t in (p, q, b))
    for user, i, j in zip(users, better[:, 0].tolist(), worse[:, 0].tolist(), strict=True):
        x = float(p[user] @ (q[i] - q[j]) + b[i] - b[j])
        share = 1 / (1 + math.exp(x)) / len(users)
        grad_p[user] += -share * (q[i] - q[j]) + 0.2 * p[user] / len(users)
        grad_q[i] += -share * p[user] + 0.2 * q[i] / len(users)
        grad_q[j] += share * p[user] + 0.2 * q[j] / len(users)
        grad_b[i] -= share
        grad_b[j] += share
    for table, wanted in ((model.user.weight, grad_p), (model.item.weight, grad_q)):
        assert table.grad is not None
        torch.testing.assert_close(table.grad.double(), wanted, atol=1e-6, rtol=1e-5)
    assert model.bias.grad is not None
    torch.testing.assert_close(model.bias.grad.double(), grad_b, atol=1e-6, rtol=1e-5)
    assert model.penalty(*NOTHING) == 0  # what was taken is gone
