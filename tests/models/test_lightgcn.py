"""LightGCN against a dense matrix, and that it makes its vectors no more often than it must."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.classic import propagating
from lightning_rec.models.classic.lightgcn import LightGCN

NOTHING = torch.zeros(0), torch.zeros(0)

DEPTH, L2 = 3, 0.3


@pytest.fixture
def model(leave_one_out: Split) -> LightGCN:
    return made(leave_one_out)


def made(split: Split) -> LightGCN:
    torch.manual_seed(0)
    model = LightGCN(Schema(split.num_items, 10, split.num_users), dim=4, depth=DEPTH, l2=L2)
    model.fit(split)
    return model.eval()


def of(*users: int) -> tuple[Histories, Tensor]:
    items = torch.zeros(len(users), 1, dtype=torch.int64)
    return Histories(items, torch.tensor(users)), torch.zeros(len(users), dtype=torch.int64)


def propagated(split: Split, table: Tensor) -> Tensor:
    """Equation 3 edge by edge as a dense matrix, equation 4 as a mean."""
    nodes = split.num_users + split.num_items
    edges = torch.zeros(nodes, nodes, dtype=torch.float64)
    for user, (start, end) in enumerate(zip(split.offsets[:-1], split.train_end, strict=True)):
        for item in split.items[start:end]:
            node = split.num_users + int(item)
            edges[user, node] = edges[node, user] = 1
    degree = edges.sum(dim=1)
    for i, j in edges.nonzero().tolist():
        edges[i, j] = 1 / (degree[i] * degree[j]) ** 0.5
    layers = [table]
    for _ in range(DEPTH):
        layers.append(edges @ layers[-1])
    return sum(layers, torch.zeros_like(table)) / (DEPTH + 1)


def test_scores_are_of_vectors_averaged_over_layers(model: LightGCN, leave_one_out: Split) -> None:
    wanted = propagated(leave_one_out, model.node.weight.detach().double())
    users, items = wanted[: leave_one_out.num_users], wanted[leave_one_out.num_users :]
    found = model.scores(model(*of(4, 9))).double()
    torch.testing.assert_close(found, users[[4, 9]] @ items.T, atol=1e-6, rtol=1e-5)


def test_a_step_has_the_gradient_of_the_dense_matrix_and_of_the_0th_layer(
    model: LightGCN, leave_one_out: Split
) -> None:
    users, better, worse = [4, 9, 4], torch.tensor([[1], [2], [3]]), torch.tensor([[3], [3], [5]])
    model.train()
    queries = model(*of(*users))
    behind = model.scores(queries, worse) - model.scores(queries, better)
    (nn.functional.softplus(behind).mean() + model.penalty(*NOTHING)).backward()

    table = model.node.weight.detach().double().requires_grad_()
    dense, shift = propagated(leave_one_out, table), leave_one_out.num_users
    total = torch.zeros((), dtype=torch.float64)
    for user, i, j in zip(users, better[:, 0] + shift, worse[:, 0] + shift, strict=True):
        total = total + nn.functional.softplus(dense[user] @ (dense[j] - dense[i]))
        total = total + L2 / 2 * (table[user] @ table[user])
        total = total + L2 / 2 * (table[i] @ table[i] + table[j] @ table[j])
    (total / len(users)).backward()
    assert model.node.weight.grad is not None
    assert table.grad is not None
    torch.testing.assert_close(model.node.weight.grad.double(), table.grad, atol=1e-6, rtol=1e-4)


def test_vectors_are_made_once_a_step_and_once_an_evaluation(
    model: LightGCN, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, times = propagating._mean_of_layers, []

    def counted(*args: Any) -> Tensor:
        times.append(1)
        return made(*args)

    monkeypatch.setattr(propagating, "_mean_of_layers", counted)

    def ask() -> Tensor:
        queries = model(*of(4))
        model.scores(queries, torch.tensor([[1]]))
        return model.scores(queries, torch.tensor([[2]]))

    model.train()
    ask().sum().backward()
    assert len(times) == 2  # forward and backward
    model.eval()
    before = ask()
    torch.testing.assert_close(ask(), before)
    assert len(times) == 3
    with torch.no_grad():
        model.node.weight *= 2
    torch.testing.assert_close(ask(), before * 4)
    model.load_state_dict({name: value * 1 for name, value in model.state_dict().items()})
    torch.testing.assert_close(ask(), before * 4)
    assert len(times) == 5
    model.train().eval()
    ask()
    assert len(times) == 6


def test_a_user_without_training_events_is_the_mean_of_the_others(leave_one_out: Split) -> None:
    split = leave_one_out
    train_end = split.train_end.copy()
    train_end[4] = split.offsets[4]
    bare = Split(**{**vars(split), "train_end": train_end})
    model = made(bare)
    vectors = propagated(bare, model.node.weight.detach().double())[: split.num_users]
    wanted = torch.cat([vectors[:4], vectors[5:]]).mean(dim=0)
    torch.testing.assert_close(model(*of(4, 9))[0].double(), wanted, atol=1e-6, rtol=1e-5)
