"""XSimGCL against a dense matrix and the authors' loss."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.parts import training_matrix
from lightning_rec.models.classic.xsimgcl import XSimGCL

NOTHING = torch.zeros(0), torch.zeros(0)

HISTORIES = Histories(torch.tensor([[5], [9], [5], [2]]), torch.tensor([4, 9, 7, 4]))
POSITIONS = torch.ones(4, 1, dtype=torch.bool)


def made(split: Split, noise: float = 0.0, layer: int = 1) -> XSimGCL:
    torch.manual_seed(0)
    model = XSimGCL(
        Schema(split.num_items, 10, split.num_users), dim=4, depth=3, layer=layer, noise=noise,
        temperature=0.3, weight=0.7, l2=0.05,
    )  # fmt: skip
    model.fit(split)
    return model


def dense(split: Split, table: Tensor) -> list[Tensor]:
    """The layers, by a dense matrix."""
    edges = torch.from_numpy(training_matrix(split).toarray()).double()
    graph = torch.zeros(len(table), len(table), dtype=torch.float64)
    graph[: split.num_users, split.num_users :] = edges
    graph = graph + graph.T
    scale = graph.sum(dim=1).clamp(min=1) ** -0.5
    layers, graph = [table], scale[:, None] * graph * scale
    for _ in range(3):
        layers.append(graph @ layers[-1])
    return layers[1:]


def info_nce(one: Tensor, other: Tensor) -> Tensor:
    one, other = F.normalize(one, dim=1), F.normalize(other, dim=1)
    pair = torch.exp((one * other).sum(dim=-1) / 0.3)
    return -torch.log(pair / torch.exp(one @ other.T / 0.3).sum(dim=1)).mean()


@pytest.mark.parametrize("layer", [1, 2])
def test_the_penalty_and_its_gradient_are_those_of_the_authors_code(
    leave_one_out: Split, layer: int
) -> None:
    model = made(leave_one_out, layer=layer).train()
    model.begin_step(HISTORIES)
    queries = model(HISTORIES, POSITIONS)
    cost = model.penalty(*NOTHING)
    assert isinstance(cost, Tensor)
    cost.backward()

    table = model.node.weight.detach().double().requires_grad_()
    layers, shift = dense(leave_one_out, table), leave_one_out.num_users
    mean = torch.stack(layers).mean(dim=0)
    torch.testing.assert_close(queries.double(), mean[[4, 9, 7, 4]], atol=1e-6, rtol=1e-5)
    users, items = [4, 7, 9], [shift + 2, shift + 5, shift + 9]
    seen = layers[layer - 1]
    wanted = 0.7 * (info_nce(mean[users], seen[users]) + info_nce(mean[items], seen[items]))
    for nodes in ([4, 9, 7, 4], [shift + 5, shift + 9, shift + 5, shift + 2]):
        wanted = wanted + 0.05 * mean[nodes].norm() / 4
    wanted.backward()
    assert table.grad is not None
    assert model.node.weight.grad is not None
    torch.testing.assert_close(cost.double(), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(model.node.weight.grad.double(), table.grad, atol=1e-6, rtol=1e-4)


def test_noise_has_its_length_and_keeps_signs(leave_one_out: Split) -> None:
    model = made(leave_one_out, noise=0.2).train()
    model(HISTORIES, POSITIONS)
    assert model._contrasted is not None
    clean = dense(leave_one_out, model.node.weight.detach().double())[0]
    moved = model._contrasted.detach().double() - clean
    there = clean.abs().sum(dim=1) > 0
    torch.testing.assert_close(moved[there].norm(dim=1), torch.full_like(moved[there, 0], 0.2))
    assert (moved * clean >= 0).all()


def test_evaluation_has_no_noise(leave_one_out: Split) -> None:
    model = made(leave_one_out, noise=0.2).eval()
    mean = torch.stack(dense(leave_one_out, model.node.weight.detach().double())).mean(dim=0)
    users, items = mean.split([leave_one_out.num_users, leave_one_out.num_items])
    found = model.scores(model(HISTORIES, torch.zeros(4, dtype=torch.int64)))
    torch.testing.assert_close(found.double(), users[[4, 9, 7, 4]] @ items.T, atol=1e-6, rtol=1e-4)
    assert model.penalty(*NOTHING) == 0


def test_vectors_start_as_in_the_authors_code() -> None:
    model = XSimGCL(Schema(1000, 10, 200), dim=64)
    for part, nodes in ((model.node.weight[:200], 200), (model.node.weight[200:], 1000)):
        edge = (6 / (nodes + 64)) ** 0.5  # Glorot's uniform, users and items each for themselves
        assert 0.95 * edge < part.abs().max() <= edge


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.layer=3 .* model\.depth=2"):
        XSimGCL(Schema(30, 10, 4), depth=2, layer=3)
