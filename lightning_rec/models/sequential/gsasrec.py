"""gSASRec: SASRec with more negatives and a generalised binary cross-entropy.

Petrov and Macdonald, RecSys 2023, arXiv:2308.07192, as the authors' PyTorch code has the model
(asash/gSASRec-pytorch). Shapes: B sequences, L places, D = dim, H heads, V = num_items, M queries.
"""

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.items.base import Items
from lightning_rec.models.items.ids import Ids
from lightning_rec.models.layers import Dropout, attend, gather
from lightning_rec.ranges import BelowOne


class GSASRec(InnerProduct):
    """A causal transformer over items whose output has an item table of its own.

    Beside :class:`~lightning_rec.models.sequential.sasrec.SASRec`: two item tables, which start at
    N(0, 1) and are not scaled by √D, positions counted from the latest item, and no linear map
    after attention.

    Args:
        schema: number of items, code of padding, longest sequence.
        dim: width of item vectors and hidden states.
        depth: number of blocks.
        heads: attention heads; must divide ``dim``.
        dropout: after the embeddings, on the attention weights and inside the feed-forward layers.
        items: makes the item encoder.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.
    """

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)
    second_table = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 128,
        depth: PositiveInt = 2,
        heads: PositiveInt = 1,
        dropout: BelowOne = 0.5,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema)
        if dim % heads:
            raise ValueError(f"heads={heads} must divide dim={dim}")
        self.item = items(schema, dim)
        self.output = nn.Embedding(schema.num_items + 2, dim)
        self.position = nn.Embedding(schema.max_len, dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; the latest item of each sequence has the last position."""
        items = histories.items
        length = items.ne(self.schema.padding).sum(dim=1, keepdim=True)  # [B, 1]
        place = torch.arange(items.shape[1], device=items.device)
        counted = (self.schema.max_len - length + place).clamp(max=self.schema.max_len - 1)
        hidden_BLD = self.dropout(self.item(items) + self.position(counted))
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD)
        return gather(self.norm(hidden_BLD), positions)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The output table; there is no bias."""
        if items is None:
            return ItemVectors(self.output.weight[: self.schema.num_items], None)
        return ItemVectors(self.output(items), None)


class Block(nn.Module):
    """Causal self-attention of normalised queries over states as they are, then feed-forward."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.attention_dropout = dropout
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, dim)
        self.contract = nn.Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Float [B, L, D] -> the same; padding lies behind what counts, where nobody looks."""
        asking = self.attention_norm(hidden_BLD)
        attended = attend(
            self.query(asking),
            self.key(hidden_BLD),
            self.value(hidden_BLD),
            self.heads,
            dropout=self.attention_dropout if self.training else 0.0,
        )
        hidden = self.norm(asking + attended)
        inner = self.dropout(F.relu(self.expand(hidden)))
        fed: Tensor = hidden + self.dropout(self.contract(inner))
        return fed
