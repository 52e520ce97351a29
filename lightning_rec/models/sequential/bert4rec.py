"""BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer.

Sun et al., CIKM 2019, arXiv:1904.06690. Shapes: B sequences, L places, D = dim, H heads,
V = num_items, M queries.
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.items.base import Items, modules_beside_items
from lightning_rec.models.items.ids import Ids
from lightning_rec.models.layers import Dropout, attend, gather_rows
from lightning_rec.ranges import BelowOne, Layers


class BERT4Rec(InnerProduct):
    """A bidirectional transformer over items, with the item table tied to the output.

    Places are counted from the latest item, so that it always stands at the same one.

    Args:
        schema: number of items, codes of padding and mask, longest sequence.
        dim: width of item vectors and hidden states.
        depth: number of transformer layers.
        heads: attention heads; must divide ``dim``.
        feedforward: width of the feed-forward layer as a multiple of ``dim`` (4 in the paper).
        dropout: after the embeddings and each sub-layer.
        attention_dropout: on the attention weights.
        init: how the layers start. ``xavier`` gives them Glorot's normal and leaves embeddings at
            0.02; ``paper`` starts everything from the paper's truncated normal of 0.02. What that
            does to the figures is in ``experiments/bert4rec_ml100k``.
        items: makes the item encoder.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.
    """

    objectives: ClassVar[tuple[str, ...]] = ("masked_item",)

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        attention_dropout: BelowOne = 0.2,
        init: Literal["xavier", "paper"] = "xavier",
        items: Items = Ids,
    ) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.item = items(schema, dim)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(dim, heads, dim * feedforward, dropout, attention_dropout) for _ in range(depth)
        )
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim)
        self.output_bias = self.item.new_bias()
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        truncated = partial(nn.init.trunc_normal_, std=0.02, a=-0.04, b=0.04)
        self.item.initialise(truncated)
        for module in modules_beside_items(self):
            if isinstance(module, nn.Linear | nn.Embedding):
                truncated(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if init == "xavier":
                    nn.init.xavier_normal_(module.weight)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]: the states at the positions, transformed (equation 7)."""
        items = histories.items
        real = items != self.schema.padding
        visible = real[:, None, None, :]  # [B, 1, 1, L]: what each place may look at
        latest = real.sum(dim=1, keepdim=True) - 1  # [B, 1]
        places = torch.arange(items.shape[1], device=items.device)
        back = (latest - places).clamp(min=0)  # [B, L]; 0 is the latest
        hidden_BLD = self.dropout(self.norm(self.item(items) + self.position(back)))
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, visible, hidden_BLD)
        asking, mask = gather_rows(hidden_BLD, positions)
        hidden = self.layers[-1](hidden_BLD, visible, asking)
        queries: Tensor = self.transform_norm(F.gelu(self.transform(hidden)))
        return queries[mask]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item table is the output layer too; the bias is its own."""
        if items is None:
            return ItemVectors(self.item.table(), self.output_bias)
        return ItemVectors(self.item(items), self.output_bias[items])


class Layer(nn.Module):
    """Self-attention, then feed-forward, each with dropout, residual, LayerNorm (eq. 1 to 6)."""

    def __init__(
        self, dim: int, heads: int, inner: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, visible: Tensor, asking: Tensor) -> Tensor:
        """What ``asking``, float [B, Q, D], makes of all states: the same."""
        attended = attend(
            self.query(asking),
            self.key(hidden_BLD),
            self.value(hidden_BLD),
            self.heads,
            visible,
            self.attention_dropout if self.training else 0.0,
        )
        hidden = self.attention_norm(asking + self.dropout(self.output(attended)))
        inner = self.contract(F.gelu(self.expand(hidden)))
        fed: Tensor = self.norm(hidden + self.dropout(inner))
        return fed
