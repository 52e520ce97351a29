"""Layers that several models share, over :mod:`lightning_rec.models.kernels`; gathering."""

from collections.abc import Callable, Mapping
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.models import kernels

M = TypeVar("M", bound=nn.Module)


def module_dict(modules: Mapping[str, M]) -> Mapping[str, M]:
    """``nn.ModuleDict`` of modules, by which their type stays known."""
    return nn.ModuleDict(modules)  # type: ignore[return-value]


class Dropout(nn.Dropout):
    """torch's dropout (Srivastava et al., 2014), sooner on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """Float of any shape -> the same."""
        return kernels.dropout(x, self.p) if self.training and self.p else x


class Embedding(nn.Embedding):
    """A table of vectors; one of single weights is sooner on a CPU."""

    def forward(self, ids: Tensor) -> Tensor:
        """Int [...] -> float [..., dim]."""
        if self.embedding_dim > 1 or self.sparse:
            return super().forward(ids)
        return kernels.weights_of(self.weight, ids, self.padding_idx)


class CachedInEvaluation(nn.Module):
    """A module that caches, in evaluation, what is computed of its weights, until these change."""

    _cache: tuple[tuple[object, ...], Tensor] | None = None

    def train(self, mode: bool = True) -> Self:
        """Drop the cache: fused optimizers change weights without raising their versions."""
        self._cache = None
        return super().train(mode)

    @torch.no_grad()
    def cached(self, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` computes of the weights, without gradients; not cached in training."""
        if self.training:
            return make()
        # Of the weights alone: some language models write to their buffers whenever they read.
        state = tuple((weight._version, weight.device) for weight in self.parameters())
        if self._cache is None or self._cache[0] != state:
            self._cache = state, make()
        return self._cache[1]


def distinct(items: Tensor, padding: int) -> Tensor:
    """The items of each row once, by their codes: int64 [B, L] -> the same, padded where one stood
    again. ``padding``: the code above all items; higher ones become padding too.
    """
    ordered = items.clamp(max=padding).sort(dim=1).values
    before = functional.pad(ordered, (1, 0), value=-1)[:, :-1]
    return ordered.masked_fill(ordered == before, padding)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    visible: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head attention over projected inputs: float [B, Q, D], 2 x [B, L, D] -> [B, Q, D].

    ``visible``: bool, broadcast to [B, H, Q, L]; None is causal (Q = L). ``dropout``: on the
    attention weights; 0 outside training.
    """
    query, key, value = (split_heads(x, heads) for x in (query, key, value))
    return kernels.attention(query, key, value, visible, dropout).transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Float [B, L, D] -> [B, H, L, D / H]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


class PostNormLayer(nn.Module):
    """Self-attention, then feed-forward of width ``inner``, each with dropout, residual, LayerNorm.

    Vaswani et al., Attention Is All You Need, NeurIPS 2017 (section 3.1).
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        activation: Callable[[Tensor], Tensor],
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.heads, self.attention_dropout, self.activation = heads, attention_dropout, activation
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.dropout = Dropout(dropout)

    def forward(
        self, hidden: Tensor, visible: Tensor | None, queries: Tensor | None = None
    ) -> Tensor:
        """New states of ``queries``, all of ``hidden`` if None: float [B, Q, D]."""
        return self.fed(self.attended(hidden, visible, queries))

    def attended(
        self, hidden: Tensor, visible: Tensor | None, queries: Tensor | None = None
    ) -> Tensor:
        """The first half; ``visible``: see :func:`attend`. Float [B, Q, D]."""
        queries = hidden if queries is None else queries
        dropped = self.attention_dropout if self.training else 0.0
        query, key, value = self.query(queries), self.key(hidden), self.value(hidden)
        attended = attend(query, key, value, self.heads, visible, dropped)
        normed: Tensor = self.attention_norm(queries + self.dropout(self.output(attended)))
        return normed

    def fed(self, attended: Tensor) -> Tensor:
        """The second half: float [B, Q, D] -> the same."""
        inner = self.contract(self.activation(self.expand(attended)))
        normed: Tensor = self.norm(attended + self.dropout(inner))
        return normed


def steps_back(items: Tensor, padding: int) -> Tensor:
    """How many positions each one is before the latest item: int64 [B, L], 0 for padding."""
    latest = (items != padding).sum(dim=1, keepdim=True) - 1
    return (latest - torch.arange(items.shape[1], device=items.device)).clamp(min=0)


def gather(x: Tensor, positions: Tensor) -> Tensor:
    """Read ``x``, float [B, L, D], at positions: bool [B, L] or int64 [B] -> float [M, D]."""
    if positions.dtype == torch.bool:
        return x[positions]
    return x[torch.arange(len(x), device=x.device), positions]


def gather_rows(x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Read ``x`` at positions, row by row: the last layer's attention needs no more queries.

    Returns float [B, Q, D], Q at least as many positions as the row with most asks for, and where
    what is asked for stands in it, bool [B, Q], or int64 [B] if positions are: :func:`gather` of
    the two is that of the arguments.
    """
    if positions.dtype != torch.bool:
        return gather(x, positions)[:, None], torch.zeros_like(positions)
    mask, index = positions.to(torch.int8).sort(dim=1, descending=True, stable=True)
    number = round_up(int(mask.sum(dim=1).max()), 8)
    return x.take_along_dim(index[:, :number, None], dim=1), mask[:, :number].bool()


def round_up(number: int, multiple: int) -> int:
    """The next multiple, so that few shapes occur: oneDNN compiles a product for every new one."""
    return -(-number // multiple) * multiple


def visible_up_to(positions: Tensor, length: int) -> Tensor:
    """Which positions those of int64 [B] attend to, themselves and before: bool [B, 1, 1, L]."""
    return (torch.arange(length, device=positions.device) <= positions[:, None])[:, None, None, :]
