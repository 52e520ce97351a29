"""Items known by their ids: a learnt vector each. Shapes: V = num_items, D = dim."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import INIT_STD, ComputedItems, Init, ItemEncoder

Items = Callable[[Schema, int], ItemEncoder]
"""Makes an encoder for a schema, of width ``dim``: how a model says what it needs of its items."""


class Ids(nn.Embedding, ItemEncoder):
    """A table with a row for each item, one for padding, which stays 0, and one for the mask; the
    latter two only if ``special``, for models that read histories.
    """

    by_id = True

    def __init__(self, schema: Schema, dim: int, special: bool = True) -> None:
        padding = schema.padding if special else None
        super().__init__(schema.num_items + 2 * special, dim, padding_idx=padding)
        self.num_items, self.dim = schema.num_items, dim

    def table(self) -> Tensor:
        """The rows of the items, float [V, D]."""
        return self.weight[: self.num_items]

    @torch.no_grad()
    def initialise(self, init: Init) -> None:
        """Draw all rows, then set that of padding to 0."""
        init(self.weight)
        if self.padding_idx is not None:
            self.weight[self.padding_idx].zero_()


BARE_IDS: Items = partial(Ids, special=False)  # for models that read no histories


NEIGHBOURS = 10
SHARPNESS = 10.0  # by which cosines are multiplied before the softmax that weighs neighbours
_PAIRS = 2**24  # cosines that are made at once


class OwnVectors(ComputedItems):
    """A vector of each item's own, to be added to what else is known of it.

    Items without training events have 0, and keep it: no gradient reaches them. Outside training
    they take the mean of the vectors of those items that all else describes most alike (a
    k-nearest-neighbour mapping: Gantner et al., Learning Attribute-to-Feature Mappings for
    Cold-Start Recommendations, ICDM 2010, section III), by the cosine, which a softmax weighs.

    Args:
        dropout: probability that an item goes without its vector for a training step, so that what
            else is known of it learns to do without (DropoutNet: Volkovs et al., NeurIPS 2017,
            section 4.1).
        trained: number of items with training events, which are the first ones; None for all.
        neighbours: how many of them; with 0 what has no vector of its own has 0.
    """

    by_id = True
    own: nn.Embedding
    described: Callable[[Tensor], Tensor] | None = None  # all else that items are known by, summed
    told_by: Callable[[Tensor], Tensor]  # whether that is anything, of different rising codes

    def __init__(
        self,
        schema: Schema,
        dim: int,
        dropout: float = 0.0,
        trained: int | None = None,
        neighbours: int = 0,
    ) -> None:
        super().__init__(schema, dim)
        self.dropout, self.trained, self.neighbours = dropout, trained, neighbours

    def make_layers(self) -> None:
        """Give all items vectors."""
        self.own = nn.Embedding(self.num_items, self.dim, sparse=self.sparse)

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Draw the vectors of items with training events; the others are 0."""
        nn.init.zeros_(self.own.weight)
        nn.init.normal_(self.own.weight[: self.trained], std=INIT_STD)

    def of_codes(self, codes: Tensor) -> Tensor:
        """Rising codes, int64 [n] -> float [n, D]; 0 for padding, mask and what drops out."""
        real = codes[codes < self.num_items]
        vectors: Tensor = self.own(real)
        if self.training and self.dropout:
            # The others are not scaled up: an item has its own vector or none, never half of it.
            dropped = torch.rand(len(real), 1, device=real.device) < self.dropout
            vectors = vectors.masked_fill(dropped, 0)
        if not self.training and self.neighbours and self.described is not None:
            vectors = self._completed(real, vectors)
        return functional.pad(vectors, (0, 0, 0, len(codes) - len(real)))

    def _completed(self, codes: Tensor, vectors: Tensor) -> Tensor:
        """Own vectors of items, float [n, D], those that are 0 made of neighbours."""
        known = self.own.weight.any(dim=1).nonzero()[:, 0]
        new = (~vectors.any(dim=1)).nonzero()[:, 0]
        if not len(new) or not len(known):
            return vectors
        assert self.described is not None
        with torch.no_grad():
            theirs = functional.normalize(self.described(known), dim=1)
            described = functional.normalize(self.described(codes[new]), dim=1)
        made, number = [], min(self.neighbours, len(known))
        for each in described.split(max(1, _PAIRS // len(known))):
            cosine, place = (each @ theirs.T).topk(number, dim=1)
            weight = (SHARPNESS * cosine).softmax(dim=1)
            made.append((weight[:, :, None] * self.own(known[place])).sum(dim=1))
        found = torch.cat(made) * self.told_by(codes[new])[:, None]  # 0: nothing is known of it
        return vectors.index_copy(0, new, found.to(vectors.dtype))
