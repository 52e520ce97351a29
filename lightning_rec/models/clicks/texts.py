"""Items of clicks known by their texts, for any head; each text of a batch is read once.

Shapes: B rows, n items that they show or know of, V items, E = width of the language model.
"""

import torch
from torch import Tensor

from lightning_rec.data.clicks.batches import Rows, TextVectors
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.text.items import ItemTexts


class WithTexts(ClickModel):
    """A head whose items are known by what a language model makes of their texts.

    Args:
        texts: makes vectors of the texts of items, by their codes.
        number: V, of the items.
        head: over a schema that knows of texts.
    """

    def __init__(self, texts: ItemTexts, number: int, head: ClickModel) -> None:
        super().__init__(head.schema)
        self.texts, self.number, self.head = texts, number, head
        self.several, self.in_order = head.several, head.in_order
        self._all: tuple[tuple[int, ...], Tensor] | None = None

    @property
    def title(self) -> str:
        """What its head is called."""
        return self.head.title

    def train(self, mode: bool = True) -> "WithTexts":
        """Begin to train or to evaluate: weights may have moved, which their versions do not tell.

        Fused optimizers move them without raising the versions.
        """
        self._all = None
        super().train(mode)
        return self

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
        weights = list(self.texts.parameters())
        if torch.is_grad_enabled() or not weights:
            vectors: Tensor = self.texts(codes)
            return vectors
        state = tuple(weight._version for weight in weights)
        if self._all is None or self._all[0] != state or self.training:
            self._all = state, self.texts(torch.arange(self.number, device=codes.device))
        return self._all[1][codes]
