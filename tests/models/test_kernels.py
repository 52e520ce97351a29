"""The fast forms against torch's own."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.models import kernels


@pytest.fixture(autouse=True)
def fast() -> Iterator[None]:
    kernels.use(fast=True)
    yield
    kernels.use(fast=False)


def gradients(result: Tensor, *inputs: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    return list(torch.autograd.grad((result * torch.randn_like(result)).sum(), inputs))


@pytest.mark.parametrize("shape", [(130, 64), (3, 7, 64), (1, 1, 64)])
def test_products_keep_all_bits(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(size, requires_grad=True) for size in (shape, (256, 64)))
    exact = F.linear(x.double(), weight.double())
    torch.testing.assert_close(F.linear(x, weight).double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        gradients(F.linear(x, weight), x, weight),
        gradients(exact.float(), x, weight),
        rtol=1e-5,
        atol=1e-4,
    )


MKLDNN: Any = torch.backends.mkldnn
OLD = not hasattr(MKLDNN, "matmul")
UNTOLD = None if OLD else MKLDNN.matmul.fp32_precision


@pytest.mark.skipif(OLD, reason="torch before 2.9")
def test_what_torch_was_told_before_is_put_back() -> None:
    products = MKLDNN.matmul
    kernels.use(fast=False)
    assert products.fp32_precision == UNTOLD
    products.fp32_precision = "bf16"
    one = torch.full((64, 64), 1 + 2**-20)
    rounds = not torch.equal(one @ torch.eye(64), one)  # some processors do
    products.fp32_precision = UNTOLD
    kernels.use(fast=True)
    kernels.use(fast=True)
    assert products.fp32_precision == (UNTOLD if rounds else "bf16")
    kernels.use(fast=False)
    assert products.fp32_precision == UNTOLD


@pytest.mark.skipif(OLD, reason="torch before 2.9")
def test_processors_that_round_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.use(fast=False)
    monkeypatch.setattr(kernels, "_exact", lambda: False)
    kernels.use(fast=True)
    assert MKLDNN.matmul.fp32_precision == UNTOLD


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.9])
def test_dropout_zeroes_the_stated_share_and_keeps_the_mean(p: float) -> None:
    torch.manual_seed(0)
    x = torch.full((1000, 401), 2.0, requires_grad=True)
    dropped = kernels.dropout(x, p)
    kept = dropped != 0
    assert 1 - kept.double().mean().item() == pytest.approx(p, abs=0.003)
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 2 / (1 - p)), rtol=1e-4, atol=0)  # fmt: skip
    assert gradients(dropped, x)[0][~kept].abs().max() == 0
    # Neighbours, which come from one draw, are dropped independently of each other.
    together = (~kept[:, :-1] & ~kept[:, 1:]).double().mean().item()
    assert together == pytest.approx(p * p, abs=0.003)
    assert not torch.equal(kernels.dropout(x, p) != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(kernels.dropout(x, p) != 0, kept)


def test_dropout_keeps_the_kind_of_number() -> None:
    assert kernels.dropout(torch.ones(8, dtype=torch.bfloat16), 0.5).dtype == torch.bfloat16


def heads(*shape: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape, requires_grad=True) for _ in range(3)]


def masks(length: int) -> dict[str, Tensor | None]:
    real = torch.arange(length) < torch.tensor([[length], [3]])
    return {
        "causal": None,
        "padding": real[:, None, None, :],
        "all": torch.ones(2, 1, 1, length, dtype=torch.bool),
    }


MASKS = sorted(masks(1))


@pytest.mark.parametrize("mask", MASKS)
def test_attention_is_torchs(mask: str) -> None:
    inputs = heads(2, 2, 6, 8)
    visible = masks(6)[mask]
    ours = kernels.attention(*inputs, visible, 0.0)  # type: ignore[call-arg]
    kernels.use(fast=False)
    theirs = kernels.attention(*inputs, visible, 0.0)  # type: ignore[call-arg]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        gradients(ours, *inputs), gradients(theirs, *inputs), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("mask", MASKS)
def test_attention_with_dropout_averages_to_attention_without(mask: str) -> None:
    query, key, value = heads(2, 2, 6, 8)
    visible = masks(6)[mask]
    plain = kernels.attention(query, key, value, visible, 0.0)
    draws = torch.stack(
        [kernels.attention(query, key, value, visible, 0.3).detach() for _ in range(4000)]
    )
    torch.testing.assert_close(draws.mean(0), plain, atol=0.1, rtol=0)
    assert draws.std(0).max() > 0.1


def test_outside_all_is_torchs_own_to_the_bit() -> None:
    x, inputs = torch.randn(5, 16), heads(2, 2, 6, 8)
    torch.manual_seed(0)
    ours = kernels.dropout(x, 0.3)
    kernels.use(fast=False)
    torch.manual_seed(0)
    plain = kernels.dropout(x, 0.3)
    torch.manual_seed(0)
    assert torch.equal(plain, F.dropout(x, 0.3))
    assert torch.equal(
        kernels.attention(*inputs, None, 0.0),  # type: ignore[call-arg]
        F.scaled_dot_product_attention(*inputs, is_causal=True),  # type: ignore[misc]
    )
    assert not torch.equal(plain, ours)


@pytest.mark.parametrize("padding", [0, None])
def test_single_weights_have_the_gradient_of_torch(padding: int | None) -> None:
    torch.manual_seed(0)
    table = torch.randn(50, 1, requires_grad=True)
    ids = torch.randint(0, 40, (200, 6), dtype=torch.int32)  # the last rows are not read
    sooner, plain = kernels.weights_of(table, ids, padding), F.embedding(ids, table, padding)
    assert torch.equal(sooner, plain)
    torch.testing.assert_close(gradients(sooner, table), gradients(plain, table))


def test_single_weights_are_looked_up_by_torch_where_it_should_be_plain() -> None:
    table = torch.randn(5, 1, requires_grad=True)
    ids = torch.tensor([[1, 2]])
    assert "Weights" in kernels.weights_of(table, ids, 0).grad_fn.name()
    kernels.use(fast=False)
    assert "Embedding" in kernels.weights_of(table, ids, 0).grad_fn.name()


@pytest.mark.parametrize("queries", [1, 300])
@pytest.mark.parametrize("autocast", [False, True])
def test_products_with_own_rows_are_those_of_copies(queries: int, autocast: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(queries, 48, requires_grad=True)
    table = torch.randn(90, 48, requires_grad=True)
    items = torch.randint(80, (queries, 200))  # ten rows are nobody's
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        products = kernels.own_products(query, table, items)
    copies = torch.einsum("mq,mnq->mn", query.double(), table.double()[items]).float()
    torch.testing.assert_close(products, copies, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        gradients(products, query, table), gradients(copies, query, table), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("fast", [False, True])
def test_products_with_rows_of_a_sequence_are_those_of_copies(fast: bool, autocast: bool) -> None:
    number = [3, 0, 1, 12]
    query, table = torch.randn(16, 48, requires_grad=True), torch.randn(90, 48, requires_grad=True)
    items = torch.randint(80, (4, 200))  # ten rows are nobody's, and some stand there twice
    with kernels.using(fast), torch.autocast("cpu", torch.bfloat16, enabled=autocast and fast):
        products = kernels.sequence_products(query, table, items, number)
        row = torch.repeat_interleave(torch.tensor(number))
        copies = torch.einsum("mq,mnq->mn", query.double(), table.double()[items[row]]).float()
        torch.testing.assert_close(products, copies, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            gradients(products, query, table), gradients(copies, query, table), rtol=1e-5, atol=1e-4
        )


def test_precision_of_products_is_told_while_a_gpu_computes() -> None:
    kernels.use(fast=False)
    kernels.use(fast=True, products=False)
    assert torch.get_float32_matmul_precision() == "highest"  # raises once that of a CPU is set
    kernels.use(fast=False)
    assert torch.get_float32_matmul_precision() == "highest"
