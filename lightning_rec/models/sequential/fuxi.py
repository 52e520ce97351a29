"""FuXi-α: Scaling Recommendation Model with Feature Interaction Enhanced Transformer.

Ye et al., 2025, arXiv:2502.03036, as in USTC-StarTeam/FuXi-alpha, which goes on from HSTU's
code. Shapes: as in :class:`NeuralSequenceModel`, A = attention_dim, C = linear_dim, H heads.
"""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, split_heads
from lightning_rec.models.sequential.hstu import BUCKETS, EPSILON, Transducer, distances
from lightning_rec.ranges import BelowOne, Layers


class FuXi(Transducer):
    """Three sums of the values so far side by side: by content, by position and by time.

    They are weighed each for itself, not by one sum of biases as in HSTU, then gated, and a
    feed-forward layer follows. Where the log has no times, the part of time is 0.

    Args:
        heads: of attention, any number.
        attention_dim: width of query and key of each head.
        linear_dim: width of value of each head; the gate is three times as wide.
        feedforward: width of the feed-forward layer as a multiple of ``dim``.
        normalize: score by the cosine of query and item.
        temperature: what scores are divided by; 1 suits ``normalize=False``.
    """

    reads_times = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 50,
        depth: Layers = 2,
        heads: PositiveInt = 1,
        attention_dim: PositiveInt = 50,
        linear_dim: PositiveInt = 50,
        feedforward: PositiveInt = 1,
        dropout: BelowOne = 0.2,
        normalize: bool = True,
        temperature: PositiveFloat = 0.05,
        items: Items = Ids,
    ) -> None:
        width = (dim, heads, attention_dim, linear_dim, dim * feedforward)
        super().__init__(
            schema,
            dim,
            depth,
            lambda: Layer(*width, schema.max_len, dropout),
            dropout,
            normalize,
            temperature,
            items,
        )


class Layer(nn.Module):
    """Attention in three channels, and a feed-forward layer in two stages, each with a residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        attention_dim: int,
        linear_dim: int,
        inner: int,
        max_len: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.heads, self.max_len, self.dropout = heads, max_len, Dropout(dropout)
        self.gate = nn.Linear(dim, 3 * heads * linear_dim, bias=False)
        self.value = nn.Linear(dim, heads * linear_dim, bias=False)
        self.query = nn.Linear(dim, heads * attention_dim, bias=False)
        self.key = nn.Linear(dim, heads * attention_dim, bias=False)
        self.distance = nn.Parameter(torch.empty(max_len))  # weight by how far back, for all heads
        self.gap = nn.Parameter(torch.empty(BUCKETS + 1))  # weight by time, for all heads
        self.output = nn.Linear(3 * heads * linear_dim, dim)
        self.expand = nn.Linear(dim, inner, bias=False)
        self.scale = nn.Linear(dim, inner, bias=False)
        self.contract = nn.Linear(inner, dim, bias=False)
        for weight in (*(part.weight for part in self._projections()), self.distance, self.gap):
            nn.init.normal_(weight, std=0.02)
        for part in (self.output, self.expand, self.scale, self.contract):
            nn.init.xavier_uniform_(part.weight)

    def _projections(self) -> tuple[nn.Linear, ...]:
        return self.gate, self.value, self.query, self.key

    def forward(self, hidden_BLD: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Float [B, L, D] -> the same; ``gaps``: int64 [B, L, L], of :func:`buckets`."""
        normed = _normed(hidden_BLD)
        gate, value, query, key = (F.silu(part(normed)) for part in self._projections())
        attended = gate * _normed(self._attend(query, key, value, gaps))
        hidden = self.output(self.dropout(attended)) + hidden_BLD
        normed = self.dropout(_normed(hidden))
        fed: Tensor = self.contract(F.silu(self.expand(normed)) * self.scale(normed))
        return fed + hidden

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, gaps: Tensor | None) -> Tensor:
        """Sums of values by position, time and content, head by head: float [B, L, 3 H C]."""
        query, key, value = (split_heads(x, self.heads) for x in (query, key, value))
        back_LL, seen_LL = distances(query.shape[2], query.device)
        seen_LL = seen_LL.to(query.dtype)
        by_position = (self.distance[back_LL] * seen_LL) @ value  # [B, H, L, C]
        by_time = torch.zeros_like(value)
        if gaps is not None:
            by_time = (self.gap[gaps] * seen_LL)[:, None] @ value
        # One number for all positions, as in the authors' code.
        by_content = F.silu(query @ key.transpose(-2, -1)) * (seen_LL / self.max_len) @ value
        channels = torch.cat([by_position, by_time, by_content], dim=-1)
        return channels.transpose(1, 2).flatten(2)


def _normed(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=EPSILON)
