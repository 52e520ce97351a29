"""GRU4Rec: Session-based Recommendations with Recurrent Neural Networks.

Hidasi, Karatzoglou, Baltrunas and Tikk, ICLR 2016, arXiv:1511.06939; Hidasi and Karatzoglou, CIKM
2018, arXiv:1706.03847. Shapes: B sequences, L places, D = dim, V = num_items, M queries.
"""

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.layers import Dropout, pick
from lightning_rec.ranges import BelowOne, Layers


class GRU4Rec(InnerProduct):
    """Gated recurrent units over item vectors (2016, section 3.1); the state scores all items.

    The authors cut sessions into parallel mini-batches and carry the state on; here each window
    starts from zero, as everywhere in this package.

    Args:
        schema: number of items, codes of padding and mask.
        dim: width of item vectors and hidden states.
        depth: number of recurrent layers.
        dropout: on the item vectors and after each layer.
        tied: score with the input's item vectors (the authors' "constrained embedding", 2018),
            not with a second table.
    """

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 1,
        dropout: BelowOne = 0.2,
        tied: bool = True,
    ) -> None:
        super().__init__(schema)
        self.item = nn.Embedding(schema.num_items + 2, dim, padding_idx=schema.padding)
        self.layers = nn.ModuleList(nn.GRU(dim, dim, batch_first=True) for _ in range(depth))
        self.dropout = Dropout(dropout)
        self.output = None if tied else nn.Embedding(schema.num_items, dim)
        self.output_bias = nn.Parameter(torch.zeros(schema.num_items))
        self._initialise()

    def _initialise(self) -> None:
        # States stay within (-1, 1): vectors of length 1 give scores that can tell items apart.
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        with torch.no_grad():
            self.item.weight[self.schema.padding].zero_()

    def forward(self, histories: Histories, at: Tensor) -> Tensor:
        """Queries float [M, D]; padding stands on the right, so no state has passed any."""
        hidden_BLD = self.dropout(self.item(histories.items))
        for layer in self.layers:
            states_BLD, _ = layer(hidden_BLD)
            hidden_BLD = self.dropout(states_BLD)
        return pick(hidden_BLD, at)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The input's item vectors or the second table, and a bias."""
        table = self.item if self.output is None else self.output
        if items is None:
            return ItemVectors(table.weight[: self.schema.num_items], self.output_bias)
        return ItemVectors(table(items), self.output_bias[items])
