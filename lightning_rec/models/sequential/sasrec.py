"""SASRec: Self-Attentive Sequential Recommendation.

Kang and McAuley, ICDM 2018, arXiv:1808.09781. Shapes: as in :class:`NeuralSequenceModel`.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, attend, gather, steps_back, visible_up_to
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class SASRec(NeuralSequenceModel):
    """A causal transformer over items, as the authors' code has it.

    Two things there differ from most descriptions: the query alone is normalised before attention
    (key and value are not), and the residual goes onto the normalised input. The paper has
    ``feedforward=1``.

    Args:
        attention_dropout: on the attention weights (the paper has it equal to ``dropout``).
        item_dropout: on item vectors, those that are read and those that are scored. None in the
            paper; RecTools, with which eSASRec was measured, has it equal to ``dropout``.
        scaled: multiply item vectors by the square root of ``dim`` before positions are added, as
            the authors do and RecTools does not.
        places: whether positions are counted from the oldest item of a history or from the latest.
        init: how weights start. ``normal`` with a deviation of 0.02, or all by Glorot's normal.
        sparse: give the item table sparse gradients, for very large catalogues; needs a sampled
            loss to be of use, and ``optimizer=lazy_adamw``.
    """

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
        super().__init__(schema, dim, items, heads)
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
        self.initialise(_normal_then_xavier if init == "xavier" else NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        items = histories.items
        index = torch.arange(items.shape[1], device=items.device)
        if self.from_latest:
            index = steps_back(items, self.schema.padding)
        hidden_BLD = self.item_dropout(self.embedded(histories)) * self.scale + self.position(index)
        hidden_BLD = self.dropout(hidden_BLD)
        for block in self.blocks[:-1]:
            hidden_BLD = block(hidden_BLD, hidden_BLD)
        visible, asked = None, hidden_BLD
        if positions.dtype != torch.bool:  # one query for each sequence
            visible = visible_up_to(positions, items.shape[1])
            asked = gather(hidden_BLD, positions)[:, None]
            positions = torch.zeros_like(positions)
        return gather(self.norm(self.blocks[-1](hidden_BLD, asked, visible)), positions)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item vectors, dropped out as those that are read; there is no bias."""
        return ItemVectors(self.item_dropout(super().vectors(items).weight), None)


class Block(nn.Module):
    """Causal self-attention of normalised queries, then a feed-forward layer (equations 2 to 5).

    ``output``: whether a linear map follows the attention; ``eps``: of both norms.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        eps: float = 1e-8,
        output: bool = True,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim, eps=eps)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim) if output else nn.Identity()
        self.attention_dropout = attention_dropout
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, asked: Tensor, visible: Tensor | None = None) -> Tensor:
        """New states of those ``asked`` for, float [B, Q, D]; ``visible``: see :func:`attend`."""
        asked = self.attention_norm(asked)
        query, key, value = self.query(asked), self.key(hidden_BLD), self.value(hidden_BLD)
        dropped = self.attention_dropout if self.training else 0.0
        attended = attend(query, key, value, self.heads, visible, dropped)
        hidden = self.norm(asked + self.output(attended))
        inner = self.dropout(F.relu(self.expand(hidden)))
        return hidden + self.dropout(self.contract(inner))


def _normal_then_xavier(weight: Tensor) -> None:
    NORMAL(weight)  # keeps the order of draws that figures were recorded with
    nn.init.xavier_normal_(weight)
