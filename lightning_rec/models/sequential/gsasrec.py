"""gSASRec: SASRec with more negatives and a generalised binary cross-entropy.

Petrov and Macdonald, RecSys 2023, arXiv:2308.07192, as the authors' PyTorch code has the model
(asash/gSASRec-pytorch). Shapes: as in :class:`NeuralSequenceModel`.
"""

from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather, steps_back
from lightning_rec.models.sequential.base import NeuralSequenceModel
from lightning_rec.models.sequential.sasrec import Block
from lightning_rec.ranges import BelowOne


class GSASRec(NeuralSequenceModel):
    """A causal transformer over items whose output has an item table of its own.

    Beside :class:`~lightning_rec.models.sequential.sasrec.SASRec`: two item tables, which start at
    N(0, 1) and are not scaled by √D, positions counted from the latest item, and no linear map
    after attention. ``dropout`` is on the attention weights as well.
    """

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
        super().__init__(schema, dim, items, heads)
        self.output = nn.Embedding(schema.num_items + 2, dim)
        self.position = nn.Embedding(schema.max_len, dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(dim, heads, dim, dropout, dropout, eps=1e-5, output=False) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; the latest item of each sequence has the last position."""
        items = histories.items
        index = self.schema.max_len - 1 - steps_back(items, self.schema.padding)
        hidden_BLD = self.dropout(self.embedded(histories) + self.position(index))
        for block in self.blocks:
            hidden_BLD = block(hidden_BLD, hidden_BLD)
        return gather(self.norm(hidden_BLD), positions)
