"""TiSASRec: Time Interval Aware Self-Attention for Sequential Recommendation.

Li, Wang and McAuley, WSDM 2020, as in JiachengLi1995/TiSASRec. Shapes: as in
:class:`NeuralSequenceModel`, d = D / H, S = span + 1.
"""

from typing import NamedTuple

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather, split_heads, steps_back
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.models.sequential.sasrec import Block
from lightning_rec.ranges import BelowOne, Layers


class Around(NamedTuple):
    """What attention knows of places and of times, dropped out already.

    key, value: float [B, L, D], of the places. intervals: int64 [B, L, L], see :func:`intervals`;
    None without times. key_time, value_time: float [S, D], of each interval.
    """

    key: Tensor
    value: Tensor
    intervals: Tensor | None
    key_time: Tensor
    value_time: Tensor


class TiSASRec(NeuralSequenceModel):
    """SASRec whose attention also reads the time between two items, as learnt vectors.

    An interval is divided by the least one of the history so far, so that it is personal, and
    clipped. The authors divide by the least of the user's whole sequence, what is to be predicted
    among it; here no place reads later times. Vectors of intervals drop out once a step, not once
    for each pair of items. Where the log has no times there are none.

    Args:
        span: intervals from which on all are alike, in units of the least one.
    """

    reads_times = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 1,
        dropout: BelowOne = 0.2,
        span: PositiveInt = 256,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        self.span, self.dropout = span, Dropout(dropout)
        self.key_place, self.value_place = (nn.Embedding(schema.max_len, dim) for _ in range(2))
        self.key_time, self.value_time = (nn.Embedding(span + 1, dim) for _ in range(2))
        self.blocks = nn.ModuleList(Layer(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.initialise(NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; places are counted from the latest item of the window."""
        items = histories.items
        place = self.schema.max_len - 1 - steps_back(items, self.schema.padding)
        apart = None if histories.times is None else intervals(histories.times[:, :-1], self.span)
        around = Around(
            self.dropout(self.key_place(place)),
            self.dropout(self.value_place(place)),
            apart,
            self.dropout(self.key_time.weight),
            self.dropout(self.value_time.weight),
        )
        hidden_BLD = self.dropout(self.embedded(histories) * self.item.dim**0.5)
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, around)
        return gather(self.norm(hidden_BLD), positions)


class Layer(Block):
    """Attention with vectors of places and intervals (equations 5 to 8), then feed-forward."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__(dim, heads, dim, dropout, dropout, output=False)

    def forward(self, hidden_BLD: Tensor, around: Around) -> Tensor:  # type: ignore[override]
        """Float [B, L, D] -> the same."""
        asked = self.attention_norm(hidden_BLD)
        query, key, value = (
            split_heads(x, self.heads)
            for x in (
                self.query(asked),
                self.key(hidden_BLD) + around.key,
                self.value(hidden_BLD) + around.value,
            )
        )
        attended = self._attend(query, key, value, around).transpose(1, 2).flatten(2)
        hidden = self.norm(asked + attended)
        return hidden + self.dropout(self.contract(self.dropout(F.relu(self.expand(hidden)))))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, around: Around) -> Tensor:
        """Causal attention, float [B, H, L, d]. Vectors of intervals meet a query once each, [B, H,
        L, S], and not once for each pair of items.
        """
        scores, width = query @ key.transpose(2, 3), query.shape[3]
        apart = around.intervals
        if apart is not None:
            apart = apart[:, None].expand_as(scores)
            of_key, of_value = (
                table.view(-1, self.heads, width).transpose(0, 1)  # [H, S, d]
                for table in (around.key_time, around.value_time)
            )
            by_interval = query @ of_key.transpose(1, 2)
            scores = scores + by_interval.gather(3, apart)
        later = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).triu(1)
        weights = (scores / width**0.5).masked_fill(later, -torch.inf).softmax(dim=3)
        weights = F.dropout(weights, self.attention_dropout, self.training)
        found = weights @ value
        if apart is None:
            return found
        shares = torch.zeros_like(by_interval).scatter_add(3, apart, weights)
        return found + shares @ of_value


def intervals(times: Tensor, span: int) -> Tensor:
    """The time between items in units of the least one so far, at most ``span``.

    ``times``: int64 [B, L] seconds, rising. Returns int64 [B, L, L]: at [b, i, j] that between
    items i and j over the least time, but 0, between two neighbours among the first i.
    """
    gap = (times[:, 1:] - times[:, :-1]).abs()
    none = 2**53  # seconds; what fills by a float is exact up to here
    gap = F.pad(gap.masked_fill(gap == 0, none), (1, 0), value=none)
    least = gap.cummin(dim=1).values
    least = least.masked_fill(least == none, 1)
    apart = (times[:, :, None] - times[:, None, :]).abs() // least[:, :, None]
    return apart.clamp(max=span)
