"""UniSRec: one model over the items of several data sets, which it knows by their texts.

Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, KDD 2022,
arXiv:2206.05941, as in RUCAIBox/UniSRec. Shapes: as in :class:`NeuralSequenceModel`.
"""

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.sequential.s3rec import S3Rec
from lightning_rec.ranges import BelowOne, Layers


class UniSRec(S3Rec):
    """A causal transformer of BERT's layers whose scores are cosines (RecBole's SASRec).

    Its items are known by ``item=text item.whiten=false item.adaptor=moe`` (section 2.1). It is
    pretrained by ``objective=item_drop`` and ``loss=in_batch`` (section 2.2), and fine-tuned by
    ``method=transfer`` and ``loss=full_softmax`` (section 2.3). Positions are counted from the
    oldest item.

    Args:
        temperature: what cosines are divided by.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        attention_dropout: BelowOne = 0.5,
        temperature: PositiveFloat = 0.07,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, depth, heads, feedforward, dropout, attention_dropout, items)
        self.temperature = temperature

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D], whose products with the vectors of items are scores."""
        return F.normalize(super().forward(histories, positions), dim=-1) / self.temperature

    def places(self, items: Tensor) -> Tensor:
        """The position of each item, int64 [L]."""
        return torch.arange(items.shape[1], device=items.device)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors of items, of length 1."""
        return ItemVectors(F.normalize(super().vectors(items).weight, dim=-1), None)
