"""DIF-SR: what describes items tells what to attend to, and stays out of what is passed on.

Xie, Zhou and Kim, Decoupled Side Information Fusion for Sequential Recommendation, SIGIR 2022,
arXiv:2204.11046, as in AIM-SE/DIF-SR. Shapes: as in :class:`NeuralSequenceModel`; A attributes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models import kernels
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.items.base import ItemEncoder
from lightning_rec.models.items.features import FeatureItems
from lightning_rec.models.items.ids import Ids, Items, OwnVectors
from lightning_rec.models.items.sums import Sum
from lightning_rec.models.layers import (
    Dropout,
    PostNormLayer,
    gather,
    split_heads,
    visible_up_to,
)
from lightning_rec.models.sequential.base import NORMAL, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers

EPSILON = 1e-12  # of all norms in the authors' code


class DIFSR(NeuralSequenceModel):
    """A causal transformer over ids, whose attention reads positions and attributes besides.

    Where items are known by ids and more (``item=[ids,features]``), each further encoder is an
    attribute: it has queries and keys of its own in each layer, whose products are added to those
    of the items (the paper's ``sum``). Values, and the vectors that items are scored by, are of ids
    alone. The authors' other two fusions, ``concat`` and ``gate``, mix the products with later
    positions, and so need a training example for each beginning of a sequence; here every position
    is learnt from.

    Args:
        attribute_weight: of the prediction of the next item's categories beside the loss of the
            next item (the paper's lambda, equation 15): the mean over categories of the binary
            cross-entropy of a linear map of the query.

    ``bundled``: settings in a bundle that has :attr:`apart`.

    Raises ValueError where encoders are gated or joined, or where not one of several is of ids.
    """

    # Heads that learnt what describes items are of no use without it, and answer nothing.
    bundled: ClassVar[Mapping[str, Any]] = {"attribute_weight": 0}

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        heads: PositiveInt = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        attention_dropout: BelowOne = 0.5,
        attribute_weight: NonNegativeFloat = 10.0,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items, heads)
        _, attributes = parts_of(self.item)
        self.position = nn.Embedding(schema.max_len, dim)
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(dim, heads, dim * feedforward, dropout, attention_dropout, 1 + len(attributes))
            for _ in range(depth)
        )
        self.attribute_weight = attribute_weight
        self.predict = nn.ModuleList(nn.Linear(dim, each.size) for each in self._described())
        self.initialise(NORMAL)

    @property
    def apart(self) -> dict[str, ItemEncoder]:
        """What stands apart in a bundle, by name: each encoder of several."""
        return {**self.item.parts} if isinstance(self.item, Sum) else {}

    def begin_step(self, histories: Histories) -> None:
        """Each encoder computes its vectors of the items of a step, and nobody their sum."""
        own, attributes = parts_of(self.item)
        for encoder in (own, *attributes):
            encoder.begin_step(histories.items)

    def embedded(self, histories: Histories) -> Tensor:
        """The vectors of ids, float [B, L, D], with what is known of events and users."""
        vectors: Tensor = parts_of(self.item)[0](histories.items)
        if self.side is None:
            return vectors
        read: Tensor = self.side(vectors, histories, self.schema.padding)
        return read

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]; positions are counted from the oldest item."""
        items = histories.items
        hidden_BLD = self.dropout(self.norm(self.embedded(histories)))
        place = self.position.weight[: items.shape[1]].expand_as(hidden_BLD)
        beside = [place, *(each(items) for each in parts_of(self.item)[1])]
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD, beside)
        if positions.dtype == torch.bool:
            return gather(self.layers[-1](hidden_BLD, beside), positions)
        last: Tensor = self.layers[-1](hidden_BLD, beside, positions)
        return last[:, 0]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The vectors of ids; there is no bias."""
        own, _ = parts_of(self.item)
        return ItemVectors(own.table() if items is None else own(items), None)

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """The weighted loss of the next items' categories, scalar (section 4.4)."""
        losses = []
        for described, predict in zip(self._described(), self.predict, strict=True):
            item, own = torch.unique(targets, return_inverse=True)
            label = described.categories_of(item)[own]
            losses.append(F.binary_cross_entropy_with_logits(predict(queries), label))
        return self.attribute_weight * sum(losses, 0.0)

    def _described(self) -> list[FeatureItems]:
        """Attributes that are categories, which are predicted."""
        if not self.attribute_weight:
            return []
        _, attributes = parts_of(self.item)
        return [each for each in attributes if isinstance(each, FeatureItems) and len(each.rows)]


def parts_of(item: ItemEncoder) -> tuple[ItemEncoder, tuple[ItemEncoder, ...]]:
    """The encoder of ids, and those of attributes. Raises ValueError; see :class:`DIFSR`."""
    if not isinstance(item, Sum):
        return item, ()
    if item.gate is not None or item.join is not None:
        raise ValueError("DIFSR adds up nothing, so that item.gate and item.concat have no place")
    own = [each for each in item.parts.values() if isinstance(each, OwnVectors) and each.by_id]
    attributes = [each for each in item.parts.values() if not each.by_id]
    if len(own) != 1 or len(own) + len(attributes) < len(item.parts):  # a part is a sum with ids
        raise ValueError("DIFSR scores items by ids: say them once, as in item=[ids,features]")
    return own[0], tuple(attributes)


class Layer(PostNormLayer):
    """Attention whose weights are of items and of what is ``beside`` them, then feed-forward."""

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        attention_dropout: float,
        beside: int,
    ) -> None:
        super().__init__(dim, heads, inner, dropout, attention_dropout, F.gelu, EPSILON)
        self.queries = nn.ModuleList(nn.Linear(dim, dim) for _ in range(beside))
        self.keys = nn.ModuleList(nn.Linear(dim, dim) for _ in range(beside))

    def forward(  # type: ignore[override]
        self, hidden: Tensor, beside: Sequence[Tensor], positions: Tensor | None = None
    ) -> Tensor:
        """New states of one position in each row, int64 [B], or of all: float [B, Q, D].

        ``beside``: the vectors of positions and of each attribute, float [B, L, D].
        """
        read, visible = [hidden, *beside], None
        asked = read
        if positions is not None:
            visible = visible_up_to(positions, hidden.shape[1])
            asked = [gather(each, positions)[:, None] for each in read]
        query = self._heads([self.query, *self.queries], asked)
        key = self._heads([self.key, *self.keys], read)
        value = split_heads(self.value(hidden), self.heads)
        # Products are added by attention over vectors laid side by side; it would divide them by
        # the root of the whole width, and the paper does by that of an item's.
        query = query * len(read) ** 0.5
        dropped = self.attention_dropout if self.training else 0.0
        attended = kernels.attention(query, key, value, visible, dropped)
        output = self.output(attended.transpose(1, 2).flatten(2))
        return self.fed(self.attention_norm(asked[0] + self.dropout(output)))

    def _heads(self, maps: Sequence[nn.Module], vectors: Sequence[Tensor]) -> Tensor:
        """Float [B, H, Q, (1 + beside) * D / H]."""
        made = [split_heads(each(of), self.heads) for each, of in zip(maps, vectors, strict=True)]
        return torch.cat(made, dim=-1)
