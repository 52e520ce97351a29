"""The same arithmetic, done sooner: products, dropout masks, attention, single weights on a CPU.

Until :func:`use` says otherwise, each function here is torch's own. The tests hold the two forms
against each other.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_COPIED = 2**21  # floats that are copied at a time, so that they stay in the processor's cache

_state: dict[str, Any] = {"fast": False, "products": None}


def use(fast: bool, products: bool = True) -> None:
    """Say how this process computes from now on; ``use(False)`` leaves torch as it was.

    torch sends 32-bit products on a CPU to MKL, which keeps to half the vector width on processors
    that are not Intel's. oneDNN, which torch ships as well, does not; torch asks it only if told
    that fewer bits would do. On most processors it uses all 32 nevertheless. Where it does not,
    products stay with MKL.

    Args:
        fast: on a CPU, products by oneDNN, dropout masks from 16-bit draws, attention of these,
            gradients of single weights by counting; anywhere, new memory is not filled.
        products: whether those by oneDNN are meant: not where a GPU computes, whose precision torch
            does not tell while that of a CPU is set.
    """
    if fast == _state["fast"]:
        return
    _state["fast"] = fast
    # Deterministic torch fills whatever it allocates, so that bugs that read it show.
    torch.utils.deterministic.fill_uninitialized_memory = not fast  # type: ignore[attr-defined]
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # torch 2.9 and later
    if matmul is None:
        return
    if not fast:
        matmul.fp32_precision = _state["products"] or matmul.fp32_precision
        _state["products"] = None
        return
    if not products:
        return
    _state["products"] = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    if not _exact():
        matmul.fp32_precision = _state["products"]


@contextmanager
def using(fast: bool) -> Iterator[None]:
    """Compute so for a while, then as before; see :func:`use`. Where it is so, it costs nothing."""
    before = _state["fast"]
    use(fast)
    try:
        yield
    finally:
        use(before)


@cache
def _exact() -> bool:
    """Whether products by oneDNN use all 32 bits on this processor."""
    one = torch.full((64, 64), 1 + 2**-20)  # what fewer bits would round to 1
    return torch.equal(one @ torch.eye(64), one)


def _sooner(x: Tensor) -> bool:
    fast: bool = _state["fast"]
    return fast and x.device.type == "cpu"


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with chance ``p`` and scale the rest by ``1 / (1 - p)``.

    torch draws a CPU mask one number for each element, one element at a time. Here each 64-bit
    draw of NumPy's SFC64, seeded by torch's generator, is cut into four: elements are as
    independent as before, and the chance is ``p`` rounded to a multiple of 1 / 65,536.
    """
    if not _sooner(x):
        return F.dropout(x, p)
    threshold = round(p * 65536)
    draws = np.random.SFC64(int(torch.randint(2**62, ()))).random_raw(-(-x.numel() // 4))
    mask = torch.from_numpy(draws.view(np.int16)[: x.numel()]).view(x.shape).float()
    mask.ge_(threshold - 32768).mul_(65536 / (65536 - threshold))  # floats: truth values are slow
    return x * mask.to(x.dtype)


def weights_of(table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
    """Look up single weights; their gradient is counted together.

    torch adds to the gradient of a table row by row, however narrow, and divides rows among
    threads, which leaves the few that are read most to one.

    ``table``: float [R, 1]; ``ids``: int [...]; ``padding``: row that gets no gradient. Returns
    float [..., 1].
    """
    if not _sooner(table):
        return F.embedding(ids, table, padding)
    return _Weights.apply(table, ids, padding)  # type: ignore[no-untyped-call]


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.padding = len(table), padding
        return F.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        summed = torch.bincount(ids.flatten(), gradient.flatten(), minlength=ctx.rows)
        if ctx.padding is not None:
            summed[ctx.padding] = 0
        return summed.to(gradient.dtype)[:, None], None, None


def own_products(queries: Tensor, table: Tensor, items: Tensor) -> Tensor:
    """Inner products of each query with the rows of ``table`` that are its own.

    torch keeps a copy of every row for each query that reads it, and its gradient too, M·n·Q
    floats each. Here copies are made of a few queries at a time, and both gradients are sums of
    rows: of the table's for each query, of the queries for each row.

    ``queries``: float [M, Q]; ``table``: float [R, Q]; ``items``: int64 [M, n], rows of it. Returns
    float [M, n].
    """
    if not _sooner(queries):
        return torch.linalg.vecdot(queries[:, None], F.embedding(items, table))
    with torch.autocast("cpu", enabled=False):
        products: Tensor = _OwnProducts.apply(queries.to(table.dtype), table, items)  # type: ignore[no-untyped-call]
    return products


class _OwnProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, table: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(queries, table, items)
        step = max(1, _COPIED // (items.shape[1] * table.shape[1]))
        products = queries.new_empty(items.shape)
        for some in range(0, len(items), step):
            part = slice(some, some + step)
            own = F.embedding(items[part], table)
            torch.bmm(own, queries[part, :, None], out=products[part, :, None])
        return products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        queries, table, items = ctx.saved_tensors
        flat, order = items.flatten().sort(stable=True)
        ends = torch.bincount(flat, minlength=len(table)).cumsum(0)
        begins = F.pad(ends[:-1], (1, 0))
        readers, weights = order // items.shape[1], gradient.flatten()[order]
        return (
            F.embedding_bag(items, table, mode="sum", per_sample_weights=gradient.contiguous()),
            F.embedding_bag(readers, queries, begins, mode="sum", per_sample_weights=weights),
            None,
        )


def sequence_products(queries: Tensor, table: Tensor, items: Tensor, number: list[int]) -> Tensor:
    """Inner products of the queries of each sequence with the rows of ``table`` that are its own.

    torch keeps a copy of every row for each sequence that reads it, and its gradient too, B·n·Q
    floats each. Here one sequence's copies are made at a time, and stay in the processor's cache.

    ``queries``: float [M, Q], those of a sequence side by side; ``table``: float [R, Q]; ``items``:
    int64 [B, n], rows of it; ``number``: how many queries each sequence has. Returns float [M, n].
    """
    if not _sooner(queries):
        rows = torch.split(F.embedding(items.flatten(), table), items.shape[1])
        of_each = zip(torch.split(queries, number), rows, strict=True)
        return torch.cat([some @ own.T for some, own in of_each])
    with torch.autocast("cpu", enabled=False):
        products: Tensor = _SequenceProducts.apply(queries.to(table.dtype), table, items, number)  # type: ignore[no-untyped-call]
    return products


class _SequenceProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, table: Tensor, items: Tensor, number: list[int]
    ) -> Tensor:
        ctx.save_for_backward(queries, table, items)
        ctx.number = number
        products = queries.new_empty(len(queries), items.shape[1])
        parts = (torch.split(each, number) for each in (queries, products))
        for own, some, made in zip(items, *parts, strict=True):
            torch.mm(some, F.embedding(own, table).T, out=made)
        return products

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        queries, table, items = ctx.saved_tensors
        of_queries, of_table = torch.empty_like(queries), torch.zeros_like(table)
        parts = (torch.split(each, ctx.number) for each in (queries, gradient, of_queries))
        with torch.autocast("cpu", enabled=False):
            for own, some, slope, made in zip(items, *parts, strict=True):
                torch.mm(slope, F.embedding(own, table), out=made)
                of_table.index_add_(0, own, slope.T @ some)
        return of_queries, of_table, None, None


def attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, p: float
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, equation 1): float [B, H, Q, C].

    ``query``: float [B, H, Q, C]; ``key``, ``value``: float [B, H, L, C]; ``visible``: bool,
    broadcast to [B, H, Q, L], what each position may look at, one at least; None lets each see
    itself and what came before (Q = L). ``p``: chance of a weight to be dropped. torch's fused
    kernel for CPUs knows no dropout, and its other form draws masks as slowly as above.
    """
    if not _sooner(query):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=p, is_causal=visible is None
        )
    if visible is None:
        visible = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if not visible.all():
        hidden = torch.zeros(visible.shape, dtype=weights.dtype)
        weights += hidden.masked_fill_(~visible, -math.inf)  # a sum, whose gradient costs nothing
    weights = weights.softmax(dim=-1)
    return (dropout(weights, p) if p else weights) @ value
