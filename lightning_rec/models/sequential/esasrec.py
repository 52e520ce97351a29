"""eSASRec: SASRec with LiGR layers and a sampled softmax.

Tikhonovich et al., RecSys 2025, arXiv:2508.06450, as in blondered/transformer_benchmark, which
builds on RecTools; LiGR layers are of Borisyuk et al., arXiv:2502.03417. Shapes: as in
:class:`NeuralSequenceModel`.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, attend, gather, steps_back, visible_up_to
from lightning_rec.models.sequential.base import NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class ESASRec(NeuralSequenceModel):
    """A causal transformer whose layers gate what they add, without a norm at the end.

    Positions are counted from the latest item, and item vectors are not scaled. ``dropout`` is on
    hidden states, attention weights and item vectors alike: within a training step an item has the
    same numbers dropped wherever it is read or scored.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 1,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.1,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        self.position = nn.Embedding(schema.max_len, dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(dim, heads, dim * feedforward, dropout) for _ in range(depth)
        )
        self.item.initialise(nn.init.xavier_normal_)
        nn.init.xavier_normal_(self.position.weight)
        self._kept: Tensor | None = None  # of the numbers of item vectors, in this training step

    def begin_step(self, histories: Histories) -> None:
        """Draw what is dropped of the item vectors; see :meth:`SequenceModel.begin_step`."""
        super().begin_step(histories)
        if self.training:
            shape = self.schema.num_items + 2, self.item.dim
            self._kept = F.dropout(torch.ones(shape, device=histories.items.device), self.dropout.p)

    def train(self, mode: bool = True) -> "ESASRec":
        """Forget what was dropped."""
        self._kept = None
        return super().train(mode)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        items = histories.items
        back = self.position(steps_back(items, self.schema.padding))
        hidden_BLD = self.dropout(self._dropped(self.embedded(histories), items) + back)
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, hidden_BLD)
        visible, asked = None, hidden_BLD
        if positions.dtype != torch.bool:  # one query for each sequence
            visible = visible_up_to(positions, items.shape[1])
            asked = gather(hidden_BLD, positions)[:, None]
            positions = torch.zeros_like(positions)
        return gather(self.layers[-1](hidden_BLD, asked, visible), positions)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The item vectors, dropped out as those that are read; there is no bias."""
        return ItemVectors(self._dropped(super().vectors(items).weight, items), None)

    def _dropped(self, vectors: Tensor, items: Tensor | None) -> Tensor:
        """Item vectors, float [..., D], of ``items``, int64 [...], or of all, dropped out."""
        if self._kept is None:  # evaluation, or a step that nobody began
            return self.dropout(vectors)
        kept = self._kept[: self.schema.num_items] if items is None else self._kept[items]
        return vectors * kept


class Layer(nn.Module):
    """LiGR: attention, then SwiGLU, both of normalised states; each is gated and added."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, Dropout(dropout)
        self.attention_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.output = nn.Linear(dim, dim)
        self.attention_gate, self.gate = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.expand = nn.Linear(dim, inner, bias=False)
        self.scale = nn.Linear(dim, inner, bias=False)
        self.contract = nn.Linear(inner, dim, bias=False)
        for part in (self.attention_gate, self.gate, self.expand, self.scale, self.contract):
            nn.init.xavier_normal_(part.weight)
        nn.init.xavier_normal_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        for part in (self.query, self.key, self.value):  # one matrix of 3 D x D in torch's layer
            nn.init.normal_(part.weight, std=(2 / (4 * dim)) ** 0.5)
            nn.init.zeros_(part.bias)

    def forward(self, hidden_BLD: Tensor, asked: Tensor, visible: Tensor | None = None) -> Tensor:
        """New states of those ``asked`` for, float [B, Q, D]; ``visible``: see :func:`attend`."""
        normed, query = self.attention_norm(hidden_BLD), self.query(self.attention_norm(asked))
        dropped = self.dropout.p if self.training else 0.0
        key, value = self.key(normed), self.value(normed)
        attended = self.output(attend(query, key, value, self.heads, visible, dropped))
        hidden = asked + torch.sigmoid(self.attention_gate(asked)) * self.dropout(attended)
        normed = self.norm(hidden)
        inner = self.contract(self.dropout(F.silu(self.expand(normed)) * self.scale(normed)))
        return hidden + torch.sigmoid(self.gate(hidden)) * self.dropout(inner)
