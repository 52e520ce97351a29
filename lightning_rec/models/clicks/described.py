"""Items of clicks described by vectors, for any head; those of a batch are made once.

Shapes: B rows, n items that they show or have in their histories, V items, E = width of the
vectors.
"""

import torch
from torch import Tensor

from lightning_rec.data.clicks.schema import BatchItems, Rows
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.items.vectors import VectorSource
from lightning_rec.models.layers import CachedInEvaluation


class WithItems(CachedInEvaluation, ClickModel):
    """A head whose V items are known by vectors: of their texts, given ones, or an encoder's."""

    def __init__(self, source: VectorSource, number: int, head: ClickModel) -> None:
        super().__init__(head.schema, head)
        self.source, self.number, self.head = source, number, head

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G] of several goals."""
        assert rows.item is not None
        codes = rows.item
        if rows.history is not None and self.schema.history is not None:
            past = rows.history.items
            codes = torch.cat([codes, past[past != self.schema.history.padding]])
        codes = torch.unique(codes)
        return self.head(rows._replace(items=BatchItems(codes, self.vectors(codes))))

    def vectors(self, codes: Tensor) -> Tensor:
        """Rising codes, int64 [n] -> float [n, E]; cached in evaluation, where it is trained."""
        if torch.is_grad_enabled() or next(self.source.parameters(), None) is None:
            return self.source(codes)
        everything = torch.arange(self.number, device=codes.device)
        return self.cached(lambda: self.source(everything))[codes]
