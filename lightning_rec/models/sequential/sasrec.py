"""SASRec: Self-Attentive Sequential Recommendation.

Kang and McAuley, ICDM 2018, arXiv:1808.09781. Shapes: B sequences, L places, D = dim, H heads,
V = num_items, M queries.
"""

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
from lightning_rec.models.layers import Dropout, attend, gather, visible_up_to
from lightning_rec.ranges import BelowOne, Layers


class SASRec(InnerProduct):
    """A causal transformer over items, as the authors' code has it.

    Two things there differ from most descriptions: the query alone is normalised before attention
    (key and value are not), and the residual goes onto the normalised input.

    Args:
        schema: number of items, code of padding, longest sequence.
        dim: width of item vectors and hidden states.
        depth: number of blocks.
        heads: attention heads; must divide ``dim``.
        feedforward: width of the feed-forward layer as a multiple of ``dim`` (1 in the paper).
        dropout: after the embeddings and inside the feed-forward layers.
        attention_dropout: on the attention weights (the paper has it equal to ``dropout``).
        item_dropout: on item vectors, those that are read and those that are scored. None in the
            paper; RecTools, with which eSASRec was measured, has it equal to ``dropout``.
        scaled: multiply item vectors by the square root of ``dim`` before places are added, as the
            authors do and RecTools does not.
        places: whether they are counted from the oldest item of a history or from the latest.
        init: how weights start. ``normal`` with a deviation of 0.02, or all by Glorot's normal.
        sparse: give the item table sparse gradients, for very large catalogues; needs a sampled
            loss to be of use, and ``optimizer=lazy_adamw``.
        items: makes the item encoder.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.
    """

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 1,
        feedforward: PositiveInt = 1,
        dropout: BelowOne = 0.1,
        attention_dropout: BelowOne = 0.1,
        item_dropout: BelowOne = 0.0,
        scaled: bool = True,
        places: Literal["oldest", "latest"] = "oldest",
        init: Literal["normal", "xavier"] = "normal",
        sparse: bool = False,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.item = items(schema, dim)
        if sparse:
            self.item.sparse_gradients()
        self.position = nn.Embedding(schema.max_len, dim)
        self.dropout, self.item_dropout = Dropout(dropout), Dropout(item_dropout)
        self.scale = dim**0.5 if scaled else 1.0
        self.from_latest = places == "latest"
        self.blocks = nn.ModuleList(
            Block(dim, heads, dim * feedforward, dropout, attention_dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        def draw(weight: Tensor) -> None:
            nn.init.normal_(weight, std=0.02)
            if init == "xavier":
                nn.init.xavier_normal_(weight)

        self.item.initialise(draw)
        for module in modules_beside_items(self):
            if isinstance(module, nn.Linear | nn.Embedding):
                draw(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        items = histories.items
        places = torch.arange(items.shape[1], device=items.device)
        if self.from_latest:
            latest = (items != self.schema.padding).sum(dim=1, keepdim=True) - 1
            places = (latest - places).clamp(min=0)
        hidden_BLD = self.item_dropout(self.item(items)) * self.scale + self.position(places)
        hidden_BLD = self.dropout(hidden_BLD)
        for block in self.blocks[:-1]:
            hidden_BLD = block(hidden_BLD, hidden_BLD)
        visible, asking = None, hidden_BLD
        if positions.dtype != torch.bool:  # one query for each sequence
            visible = visible_up_to(positions, items.shape[1])
            asking = gather(hidden_BLD, positions)[:, None]
            positions = torch.zeros_like(positions)
        return gather(self.norm(self.blocks[-1](hidden_BLD, asking, visible)), positions)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item table is the output layer too; there is no bias."""
        weight = self.item.table() if items is None else self.item(items)
        return ItemVectors(self.item_dropout(weight), None)


class Block(nn.Module):
    """Causal self-attention, then a feed-forward layer (equations 2 to 5)."""

    def __init__(
        self, dim: int, heads: int, inner: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim, eps=1e-8)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.attention_dropout = attention_dropout
        self.norm = nn.LayerNorm(dim, eps=1e-8)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, asking: Tensor, visible: Tensor | None = None) -> Tensor:
        """What ``asking``, float [B, Q, D], makes of the states it may look at: the same."""
        asking = self.attention_norm(asking)
        attended = attend(
            self.query(asking),
            self.key(hidden_BLD),
            self.value(hidden_BLD),
            self.heads,
            visible,
            self.attention_dropout if self.training else 0.0,
        )
        hidden = self.norm(asking + self.output(attended))
        inner = self.dropout(F.relu(self.expand(hidden)))
        fed: Tensor = hidden + self.dropout(self.contract(inner))
        return fed
