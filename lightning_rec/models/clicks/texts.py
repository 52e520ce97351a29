"""Items of clicks known by their texts, for any head; each text of a batch is read once.

Shapes: B rows, n items that they show or know of, V items, E = width of the language model.
"""

import torch
from torch import Tensor

from lightning_rec.data.clicks.batches import Rows, TextVectors
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.layers import CachedInEvaluation
from lightning_rec.models.text.items import ItemTexts


class WithTexts(CachedInEvaluation, ClickModel):
    """A head whose items are known by what a language model makes of their texts.

    Args:
        texts: makes vectors of the texts of items, by their codes.
        number: V, of the items.
        head: over a schema that knows of texts.
    """

    def __init__(self, texts: ItemTexts, number: int, head: ClickModel) -> None:
        super().__init__(head.schema)
        self.texts, self.number, self.head = texts, number, head
        self.multi_task, self.sequential = head.multi_task, head.sequential

    @property
    def title(self) -> str:
        """What its head is called."""
        return self.head.title

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G] of several goals."""
        assert rows.item is not None
        codes = rows.item
        if rows.history is not None and self.schema.history is not None:
            past = rows.history.items
            codes = torch.cat([codes, past[past != self.schema.history.padding]])
        codes = torch.unique(codes)
        read = TextVectors(codes, self._read(codes))
        logits: Tensor = self.head(rows._replace(texts=read))
        return logits

    def _read(self, codes: Tensor) -> Tensor:
        """Int64 [n] -> float [n, E]. What is tuned reads all, once, until it moves, to be asked."""
        if torch.is_grad_enabled() or next(self.texts.parameters(), None) is None:
            vectors: Tensor = self.texts(codes)
            return vectors
        return self.cached(lambda: self.texts(torch.arange(self.number, device=codes.device)))[
            codes
        ]
