"""BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from Transformer.

Sun et al., CIKM 2019, arXiv:1904.06690. Shapes: as in :class:`NeuralSequenceModel`.
"""

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, PostNormLayer, gather, gather_rows, steps_back
from lightning_rec.models.sequential.base import TRUNCATED, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class BERT4Rec(NeuralSequenceModel):
    """A bidirectional transformer over items, with the item table tied to the output.

    Positions are counted from the latest item, so that it always has the same one. The paper has
    ``feedforward=4``.

    Args:
        attention_dropout: on the attention weights.
        init: how the layers start. ``xavier`` gives them Glorot's normal and leaves embeddings at
            0.02; ``paper`` starts everything from the paper's truncated normal of 0.02. What that
            does to the figures is in ``experiments/bert4rec_ml100k``.
    """

    objectives = ("masked_item",)

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
        super().__init__(schema, dim, items, heads)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            PostNormLayer(dim, heads, dim * feedforward, dropout, attention_dropout, F.gelu)
            for _ in range(depth)
        )
        self.transform = nn.Linear(dim, dim)
        self.transform_norm = nn.LayerNorm(dim)
        self.output_bias = self.item.new_bias()
        self.initialise(TRUNCATED, nn.init.xavier_normal_ if init == "xavier" else None)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]: the states at the positions, transformed (equation 7)."""
        items = histories.items
        visible = (items != self.schema.padding)[:, None, None, :]  # [B, 1, 1, L]
        positional_BLD = self.position(steps_back(items, self.schema.padding))
        hidden_BLD = self.dropout(self.norm(self.embedded(histories) + positional_BLD))
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, visible)
        asked, places = gather_rows(hidden_BLD, positions)
        hidden = self.layers[-1](hidden_BLD, visible, asked)
        queries: Tensor = self.transform_norm(F.gelu(self.transform(hidden)))
        return gather(queries, places)
