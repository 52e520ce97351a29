"""S3-Rec: a transformer over items that is pretrained by what sequences say of themselves.

Zhou et al., S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual Information
Maximization, CIKM 2020, arXiv:2008.07873, as in RUCAIBox/CIKM2020-S3Rec. Shapes: as in
:class:`NeuralSequenceModel`; A attributes, S pairs of an item and an attribute of it.
"""

import warnings
from typing import ClassVar

import numpy as np
import polars as pl
import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.features import COLUMNS, values_of
from lightning_rec.data.names import no_column
from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError, listed
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, PostNormLayer, gather, steps_back, visible_up_to
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers

EPSILON = 1e-12  # of all norms in the authors' code


class S3Rec(NeuralSequenceModel):
    """The model that is fine-tuned: causal, with the item table for its output (section 4.4).

    Positions are counted from the latest item, since the authors pad on the left. With the weights
    of a run of :class:`S3RecPretraining` (``method=finetune method.run=FOLDER``) it is S3-Rec,
    without them a SASRec of BERT's layers.

    Args:
        attention_dropout: on the attention weights.
    """

    causal: ClassVar[bool] = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        attention_dropout: BelowOne = 0.5,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.dropout = Dropout(dropout)
        inner = dim * feedforward
        self.layers = nn.ModuleList(
            PostNormLayer(dim, heads, inner, dropout, attention_dropout, F.gelu, EPSILON)
            for _ in range(depth)
        )
        self.initialise(NORMAL)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]: the states of the last layer."""
        items = histories.items
        place_BLD = self.position(self.places(items))
        hidden_BLD = self.dropout(self.norm(self.embedded(histories) + place_BLD))
        visible = None if self.causal else (items != self.schema.padding)[:, None, None, :]
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, visible)
        if positions.dtype == torch.bool:
            return gather(self.layers[-1](hidden_BLD, visible), positions)
        if self.causal:
            visible = visible_up_to(positions, items.shape[1])
        asked = gather(hidden_BLD, positions)[:, None]  # one query for each sequence
        last: Tensor = self.layers[-1](hidden_BLD, visible, asked)
        return last[:, 0]

    def places(self, items: Tensor) -> Tensor:
        """The position of each item, int64 [B, L]."""
        return steps_back(items, self.schema.padding)


class S3RecPretraining(S3Rec):
    """The model that is pretrained: it looks both ways, and has a linear map for each objective.

    They are those of ``objective=s3rec``: masked items (MIP), which are scored as items are
    everywhere; attributes of items that are shown (AAP) and masked (MAP); and segments (SP). Every
    attribute is scored at every position.

    Args:
        column: of the catalogue, of lists or of texts parted by ``|``, ``;`` or commas, whose
            values are the attributes; None takes the first that is called genres, categories,
            attributes or the like, if there is one.
    """

    objectives = ("s3rec",)
    causal: ClassVar[bool] = False
    labels: Tensor
    offsets: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        attention_dropout: BelowOne = 0.5,
        column: str | None = None,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, depth, heads, feedforward, dropout, attention_dropout, items)
        self.column = column
        self.aap, self.mip, self.map, self.sp = (nn.Linear(dim, dim) for _ in range(4))
        self.attribute = nn.Embedding(0, dim)  # there are as many as the catalogue says
        # Made of the catalogue, which a run has beside its weights.
        for name, size in (("labels", 0), ("offsets", 1 + schema.num_items)):
            self.register_buffer(name, torch.zeros(size, dtype=torch.int64), persistent=False)
        for linear in (self.aap, self.mip, self.map, self.sp):
            NORMAL(linear.weight)
            nn.init.zeros_(linear.bias)

    def read_catalogue(self, catalogue: pl.DataFrame) -> None:
        """Know the attributes of items: row i describes item i. Raises UserError if there is no
        such column as was named.
        """
        if self.column is not None:
            if self.column not in catalogue.columns:
                raise UserError(
                    no_column("The catalogue", self.column, "model.column", catalogue.columns)
                )
            catalogue = catalogue.select(pl.col(self.column).alias(COLUMNS[0]))
        pairs = values_of(catalogue, np.arange(len(catalogue)))
        if pairs is None or not len(pairs):
            warnings.warn(
                "model=s3rec_pretraining: the catalogue has no column of attributes "
                f"({listed(COLUMNS)}), so that items and segments alone are learnt from: name one, "
                "model.column=NAME.",
                stacklevel=2,
            )
            return
        pairs = pairs.with_columns(label=pl.col("value").rank("dense") - 1).sort("row", "label")
        counts = np.bincount(pairs["row"].to_numpy(), minlength=self.schema.num_items)
        device = self.labels.device
        self.labels = torch.from_numpy(pairs["label"].to_numpy().astype(np.int64)).to(device)
        self.offsets = torch.from_numpy(np.append(0, counts.cumsum())).to(device)
        self.attribute = nn.Embedding(pairs["value"].n_unique(), self.item.dim, device=device)
        NORMAL(self.attribute.weight)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Whose products with a state are those of items with its map: e (W h + b)."""
        own = super().vectors(items).weight
        return ItemVectors(own @ self.mip.weight, own @ self.mip.bias)

    def attribute_loss(self, states: Tensor, items: Tensor, masked: Tensor) -> Tensor:
        """Binary cross-entropy of the attributes of items, summed over all of them: float [M].

        ``states``: float [M, D]. ``items``: int64 [M]. ``masked``: bool [M], where they were not
        shown (equation 7), and where they were (equation 5).
        """
        if not len(self.attribute.weight):
            return states.new_zeros(len(states))
        read = torch.where(masked[:, None], self.map(states), self.aap(states))
        every = F.softplus(F.linear(read, self.attribute.weight)).sum(dim=1)  # [M, A] -> [M]
        start = self.offsets[items]
        length = self.offsets[items + 1] - start
        before = length.cumsum(0) - length
        owner = torch.repeat_interleave(length)  # [S]
        place = torch.arange(len(owner), device=items.device) + (start - before)[owner]
        own = F.embedding_bag(self.labels[place], self.attribute.weight, before, mode="sum")
        return every - (read * own).sum(dim=1)

    def segment_scores(self, context: Tensor, segment: Tensor) -> Tensor:
        """How well segments fit what surrounds them, float [B, D] twice -> [B] (equation 8)."""
        return torch.linalg.vecdot(self.sp(context), segment)
