"""GRU4Rec: Session-based Recommendations with Recurrent Neural Networks.

Hidasi, Karatzoglou, Baltrunas and Tikk, ICLR 2016, arXiv:1511.06939; Hidasi and Karatzoglou, CIKM
2018, arXiv:1706.03847. Shapes: as in :class:`NeuralSequenceModel`.
"""

from functools import partial

from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class GRU4Rec(NeuralSequenceModel):
    """Gated recurrent units over item vectors (2016, section 3.1); the state scores all items.

    The authors cut sessions into parallel mini-batches and carry the state on; here each window
    starts from zero, as everywhere in this package. ``tied`` is their "constrained embedding"
    (2018).
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 1,
        dropout: BelowOne = 0.2,
        tied: bool = True,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items)
        self.layers = nn.ModuleList(nn.GRU(dim, dim, batch_first=True) for _ in range(depth))
        self.dropout = Dropout(dropout)
        self.output = None if tied else nn.Embedding(schema.num_items, dim)
        self.second_table = not tied
        self.output_bias = self.item.new_bias()
        # States stay within (-1, 1): vectors of length 1 give scores that can tell items apart.
        draw = partial(nn.init.normal_, std=dim**-0.5)
        self.item.initialise(draw)
        if self.output is not None:
            draw(self.output.weight)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; padding stands on the right, so no state has passed any."""
        hidden_BLD = self.dropout(self.embedded(histories))
        for layer in self.layers:
            states_BLD, _ = layer(hidden_BLD)
            hidden_BLD = self.dropout(states_BLD)
        return gather(hidden_BLD, positions)
