"""Mamba4Rec against the authors' model, whose block is Mamba's with a scan place by place."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.sequential import mamba4rec
from lightning_rec.models.sequential.mamba4rec import Mamba, Mamba4Rec, selective_scan

SCHEMA = Schema(num_items=30, max_len=6, num_users=4)
ITEMS = torch.tensor([[3, 1, 4, 1, 5, 9], [9, 2, 6, 30, 30, 30]])
HISTORIES = Histories(ITEMS, torch.arange(2))
REAL = ITEMS.ne(SCHEMA.padding)


def made(depth: int, dropout: float = 0.0) -> Mamba4Rec:
    torch.manual_seed(0)
    model = Mamba4Rec(SCHEMA, dim=20, depth=depth, states=5, kernel=3, dropout=dropout).eval()
    for name, parameter in model.named_parameters():
        if not name.endswith(("norm.weight", "log_rates", "step.bias")):
            nn.init.normal_(parameter, std=0.4)
    return model


def scanned(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba's selective_scan_ref: [b, l, e] twice, A [n, e], B and C [b, l, n] -> [b, l, e]."""
    decay = torch.exp(torch.einsum("ble,ne->blne", delta, A))
    taken = torch.einsum("ble,bln,ble->blne", delta, B, x)
    h, ys = torch.zeros_like(taken[:, 0]), []
    for t in range(x.shape[1]):
        h = decay[:, t] * h + taken[:, t]
        ys.append(torch.einsum("bne,bn->be", h, C[:, t]))
    return torch.stack(ys, dim=1)


def official(block: Mamba, hidden: Tensor) -> Tensor:
    """Mamba's forward without its fused kernels: float [b, l, d] -> the same."""
    length, states = hidden.shape[1], len(block.log_rates)
    x, z = (hidden @ block.read.weight.T).chunk(2, dim=-1)
    weight, bias = block.convolve.weight, block.convolve.bias
    x = F.conv1d(x.mT, weight, bias, padding=weight.shape[2] - 1, groups=len(weight))[..., :length]
    x = F.silu(x).mT
    dt, B, C = torch.split(x @ block.select.weight.T, [2, states, states], dim=-1)
    delta = F.softplus(dt @ block.step.weight.T + block.step.bias)
    y = scanned(x, delta, -torch.exp(block.log_rates), B, C) + x * block.skip
    return (y * F.silu(z)) @ block.write.weight.T


def authors(model: Mamba4Rec, items: list[int]) -> Tensor:
    """States of one sequence, unpadded, without dropout: float [L, D]."""
    hidden = model.norm(model.item.weight[items])[None]
    for layer in model.layers:
        mixed = official(layer.mamba, hidden)
        if len(model.layers) > 1:
            mixed = mixed + hidden
        mixed = layer.mamba_norm(mixed)
        hidden = layer.norm(layer.contract(F.gelu(layer.expand(mixed))) + mixed)
    return hidden[0]


@pytest.mark.parametrize("depth", [1, 2])
def test_scores_and_gradients_are_those_of_the_authors_code(depth: int) -> None:
    model = made(depth)
    rows = [row[row != SCHEMA.padding].tolist() for row in ITEMS]
    expected = [authors(model, row) for row in rows]
    queries = model(HISTORIES, REAL)
    torch.testing.assert_close(queries, torch.cat(expected), atol=1e-5, rtol=1e-5)
    latest = model(HISTORIES, REAL.sum(1) - 1)
    wanted = torch.stack([states[-1] for states in expected]) @ model.item.weight[:30].T
    torch.testing.assert_close(model.scores(latest), wanted, atol=1e-5, rtol=1e-5)

    targets = torch.arange(len(queries)) % 30
    weights = [each for each in model.parameters() if each.requires_grad]
    ours, theirs = (
        torch.autograd.grad(F.cross_entropy(states @ model.item.weight[:30].T, targets), weights)
        for states in (queries, torch.cat(expected))
    )
    assert min(gradient.abs().max() for gradient in theirs) > 1e-5  # each weight has a part
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cells", [1, 200, 2**18])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_the_scan_is_that_of_a_loop(
    length: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mamba4rec.CELLS, "cpu", cells)
    torch.manual_seed(0)
    x, delta, A, B, C, dy = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((5, length, 4), (5, length, 4), (3, 4), *[(5, length, 3)] * 2, (5, length, 4))
    )
    given = (x, F.softplus(delta), -A.exp(), B, C)
    ours, theirs = selective_scan(*given), scanned(*given)
    torch.testing.assert_close(ours, theirs)
    for mine, wanted in zip(
        *(torch.autograd.grad((y * dy).sum(), given) for y in (ours, theirs)),
        strict=True,
    ):
        torch.testing.assert_close(mine, wanted)


def test_states_that_are_forgotten_at_once_overflow_nothing() -> None:
    x = torch.randn(2, 200, 4, requires_grad=True)
    delta = torch.full((2, 200, 4), 50.0, requires_grad=True)
    A = -torch.tensor([[1e-3], [1.0], [1e3]]).repeat(1, 4)
    states = torch.ones(2, 200, 3)
    y = selective_scan(x, delta, A, states, states)
    torch.testing.assert_close(y, scanned(x, delta, A, states, states), atol=1e-3, rtol=1e-3)
    for gradient in torch.autograd.grad(y.sum(), (x, delta)):
        assert gradient.isfinite().all()


def test_weights_start_as_mambas_do() -> None:
    model = Mamba4Rec(Schema(2000, 50, 1), dim=256, depth=2)
    for layer in model.layers:
        block = layer.mamba
        step = F.softplus(block.step.bias)
        assert 0.00099 <= step.min() < 0.0015
        assert 0.07 < step.max() <= 0.1001
        assert step.log().mean().item() == pytest.approx(math.log(0.01), abs=0.2)  # log-uniform
        torch.testing.assert_close(
            block.log_rates.exp(), torch.arange(1.0, 33.0)[:, None].expand(32, 512)
        )
        assert block.skip.eq(1).all()
        for weight in (block.read.weight, block.step.weight, layer.expand.weight):
            assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_dropout_works_in_training_alone() -> None:
    model = made(1, dropout=0.5)
    assert torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
    model.train()
    assert not torch.equal(model(HISTORIES, REAL), model(HISTORIES, REAL))
