"""BSARec: attention beside a filter of frequencies, the causal counterpart of BSARec.

Shin, Choi, Wi and Park, An Attentive Inductive Bias for Sequential Recommendation beyond the
Self-Attention, AAAI 2024, arXiv:2312.10325, as in yehjin-shin/BSARec. Shapes: as in
:class:`NeuralSequenceModel`.
"""

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import (
    Dropout,
    PostNormLayer,
    gather,
    steps_back,
    visible_up_to,
)
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers, UpToOne

EPSILON = 1e-12  # of all norms in the authors' code


class BSARec(NeuralSequenceModel):
    """A causal transformer, each layer of which mixes attention with a filtered sequence.

    The filter takes a sequence apart into its low frequencies and the rest, and weighs the rest.
    The authors' filter sees the whole window at every position, those after it too, and they
    therefore learn from the last position of every beginning of a sequence. Here each position
    filters the history up to it: at the last position of a full window that is their filter, and
    every position can be learnt from.

    Args:
        alpha: share of the filtered sequence; the rest is of attention.
        cutoff: the paper's c. The mean and the c // 2 lowest frequencies are low.
    """

    low_pass: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        attention_dropout: BelowOne = 0.5,
        alpha: UpToOne = 0.7,
        cutoff: PositiveInt = 5,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(dim, heads, dim * feedforward, dropout, attention_dropout, alpha)
            for _ in range(depth)
        )
        low_pass = lowest(schema.max_len, cutoff // 2 + 1)
        self.register_buffer("low_pass", low_pass, persistent=False)
        self.initialise(NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; positions are counted from the latest item."""
        items = histories.items
        back = steps_back(items, self.schema.padding)
        hidden_BLD = self.dropout(self.norm(self.embedded(histories) + self.position(back)))
        low_pass = self.low_pass[: items.shape[1], : items.shape[1]]
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, low_pass)
        last = self.layers[-1]
        if positions.dtype == torch.bool:
            return gather(last(hidden_BLD, low_pass), positions)
        return last(hidden_BLD, low_pass, positions)[:, 0]


class Layer(PostNormLayer):
    """Filter and attention side by side, then feed-forward."""

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        alpha: float,
    ) -> None:
        super().__init__(dim, heads, inner, dropout, attention_dropout, F.gelu, EPSILON)
        self.alpha = alpha
        self.high = nn.Parameter(torch.randn(dim))  # the root of the paper's beta
        self.filter_norm = nn.LayerNorm(dim, eps=EPSILON)

    def forward(  # type: ignore[override]
        self, hidden: Tensor, low_pass: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """New states of one position in each row, int64 [B], or of all: float [B, Q, D].

        ``low_pass``: float [L, L]; see :func:`lowest`.
        """
        low, asked, visible = low_pass @ hidden, hidden, None
        if positions is not None:
            visible = visible_up_to(positions, hidden.shape[1])
            low, asked = gather(low, positions)[:, None], gather(hidden, positions)[:, None]
        filtered = low + self.high.square() * (asked - low)
        filtered = self.filter_norm(self.dropout(filtered) + asked)
        attended = self.attended(hidden, visible, asked)
        return self.fed(self.alpha * filtered + (1 - self.alpha) * attended)


def lowest(length: int, number: int) -> Tensor:
    """The low-pass of each beginning of a sequence, at its last position: float [length, length].

    Row t weighs positions 0 to t so that their sum is the value at t of what is left of those t + 1
    when all but the ``number`` lowest frequencies of their discrete Fourier transform, 0 included,
    are taken away.
    """
    position = torch.arange(length, dtype=torch.float64)
    seen = position[:, None] + 1
    back = position[:, None] - position
    weight = torch.ones(length, length, dtype=torch.float64)
    for frequency in range(1, number):
        # Twice, for it has a mirror image; once at half of what is seen, where it is its own.
        times = (seen > 2 * frequency).double() + (seen >= 2 * frequency).double()
        weight += times * torch.cos(2 * math.pi * frequency * back / seen)
    return (weight / seen).tril().float()
