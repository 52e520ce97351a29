"""HSTU: Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers.

Zhai et al., ICML 2024, arXiv:2402.17152, as in facebookresearch/generative-recommenders. Shapes: as
in :class:`NeuralSequenceModel`, A = attention_dim, C = linear_dim.
"""

from collections.abc import Callable

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather, split_heads
from lightning_rec.models.sequential.base import TRUNCATED, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers

EPSILON = 1e-6  # of all norms in the authors' code
BUCKETS = 128  # of times


class Transducer(NeuralSequenceModel):
    """What HSTU and FuXi share: how they embed and score. ``layer`` makes a layer.

    Layers are called with hidden states and, where the model reads times and the log has them, with
    what :func:`buckets` makes of these.
    """

    def __init__(
        self,
        schema: Schema,
        dim: int,
        depth: int,
        layer: Callable[[], nn.Module],
        dropout: float,
        normalize: bool,
        temperature: float,
        items: Items,
    ) -> None:
        super().__init__(schema, dim, items)
        self.normalize, self.temperature = normalize, temperature
        self.position = nn.Embedding(schema.max_len, dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layer() for _ in range(depth))
        self.item.initialise(TRUNCATED)
        nn.init.xavier_normal_(self.position.weight)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; positions are counted from the oldest item of the window."""
        items, gaps = histories.items, None
        if self.reads_times and histories.times is not None:
            gaps = buckets(histories.times)
        index = torch.arange(items.shape[1], device=items.device)
        hidden_BLD = self.embedded(histories) * self.item.dim**0.5 + self.position(index)
        hidden_BLD = self.dropout(hidden_BLD)
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD, gaps)
        return self._scaled(gather(hidden_BLD, positions)) / self.temperature

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item table is the output layer too, its rows brought to length 1; no bias."""
        number = self.schema.num_items
        if items is None or len(items) > number:  # many negatives: scaling each item once is less
            scaled = self._scaled(self.item.table())
            return ItemVectors(scaled if items is None else scaled[items], None)
        return ItemVectors(self._scaled(self.item(items)), None)

    def _scaled(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=EPSILON) if self.normalize else x


class HSTU(Transducer):
    """Attention without softmax, its result gated; queries and items of length 1.

    Args:
        heads: of attention, any number.
        attention_dim: width of query and key of each head.
        linear_dim: width of value and gate of each head.
        normalize: score by the cosine of query and item.
        temperature: what scores are divided by; 1 suits ``normalize=False``.
        times: whether the bias of attention has a part for the time from an item to what follows
            the one that asks, as the authors' has; without effect where the log has no times.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 50,
        depth: Layers = 2,
        heads: PositiveInt = 1,
        attention_dim: PositiveInt = 50,
        linear_dim: PositiveInt = 50,
        dropout: BelowOne = 0.2,
        normalize: bool = True,
        temperature: PositiveFloat = 0.05,
        times: bool = False,
        items: Items = Ids,
    ) -> None:
        width = (dim, heads, attention_dim, linear_dim)
        super().__init__(
            schema,
            dim,
            depth,
            lambda: Layer(*width, schema.max_len, dropout, times=times),
            dropout,
            normalize,
            temperature,
            items,
        )
        self.reads_times = times


class Layer(nn.Module):
    """Projection, aggregation over positions, gating (equations 1 to 3), and a residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        attention_dim: int,
        linear_dim: int,
        max_len: int,
        dropout: float,
        *,
        times: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.max_len = heads, max_len
        self.gate = nn.Linear(dim, heads * linear_dim, bias=False)
        self.value = nn.Linear(dim, heads * linear_dim, bias=False)
        self.query = nn.Linear(dim, heads * attention_dim, bias=False)
        self.key = nn.Linear(dim, heads * attention_dim, bias=False)
        self.distance = nn.Parameter(torch.empty(max_len))  # bias by how far back, for all heads
        self.norm = nn.LayerNorm(dim, eps=EPSILON, elementwise_affine=False)
        self.value_norm = nn.LayerNorm(heads * linear_dim, eps=EPSILON, elementwise_affine=False)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(heads * linear_dim, dim)
        for weight in (*(part.weight for part in self._projections()), self.distance):
            nn.init.normal_(weight, std=0.02)
        nn.init.xavier_uniform_(self.output.weight)
        self.gap: nn.Parameter | None = None
        if times:  # bias by time, for all heads
            self.gap = nn.Parameter(torch.empty(BUCKETS + 1).normal_(std=0.02))

    def _projections(self) -> tuple[nn.Linear, ...]:
        return self.gate, self.value, self.query, self.key

    def forward(self, hidden_BLD: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Float [B, L, D] -> the same; ``gaps``: int64 [B, L, L], see :func:`buckets`."""
        normed = self.norm(hidden_BLD)
        gate, value, query, key = (F.silu(part(normed)) for part in self._projections())
        attended = self.value_norm(self._attend(query, key, value, gaps))
        output: Tensor = self.output(self.dropout(gate * attended))
        return hidden_BLD + output

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, gaps: Tensor | None = None
    ) -> Tensor:
        """Sum of the values so far, weighed: [B, L, H A], [B, L, H A], [B, L, H C] -> as value."""
        query, key, value = (split_heads(x, self.heads) for x in (query, key, value))
        back_LL, seen_LL = distances(query.shape[2], query.device)
        bias = self.distance[back_LL]
        if gaps is not None and self.gap is not None:
            bias = bias + self.gap[gaps][:, None]
        weights_BHLL = F.silu(query @ key.transpose(-2, -1) + bias)
        # One number for all positions, as in the authors' code: a sum that grows with what was
        # found, and no mean.
        share_LL = seen_LL.to(query.dtype) / self.max_len
        return (weights_BHLL * share_LL @ value).transpose(1, 2).flatten(2)


def distances(length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """How far each position is behind another, at least 0, int64 [L, L]; which are, bool [L, L]."""
    index = torch.arange(length, device=device)
    back_LL = index[:, None] - index
    return back_LL.clamp(min=0), back_LL >= 0


def buckets(times: Tensor) -> Tensor:
    """The time from each item to what follows another, on a logarithmic scale.

    ``times``: int64 [B, L + 1], as of histories. Returns int64 [B, L, L], 0 to ``BUCKETS``: at
    [b, i, j] from item j to item i + 1, or to when the next one is asked for.
    """
    gap = (times[:, 1:, None] - times[:, None, :-1]).abs().clamp(min=1)
    return (gap.log() / 0.301).long().clamp(max=BUCKETS)
