"""No training at all: items are recommended whose texts are near those of the history.

Shapes: M queries, V = num_items, E = width of the language model.
"""

from typing import Any

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import past


class ZeroShot(InnerProduct):
    """The score of an item is the inner product of its text's vector with the history's mean.

    What TF-IDF does with words, with what a language model makes of texts.

    ``half_life``: events after which one of the history weighs half; None weighs all alike.
    """

    objectives = ("closed_form",)
    texts: Tensor

    def __init__(self, schema: Schema, half_life: PositiveFloat | None = None) -> None:
        super().__init__(schema)
        self.half_life = half_life
        self.needs_order = half_life is not None
        # Saved: a run is asked without the file or the language model that they came from.
        self.register_buffer("texts", torch.zeros(schema.num_items, 0))

    def read_vectors(self, vectors: Tensor, trained: int | None = None) -> None:
        """Take the vectors of all items' texts, float [V, E], each made to length 1."""
        self.texts = functional.normalize(vectors.to(self.texts.device), dim=1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take vectors of whatever width was saved."""
        saved = state_dict.get(f"{prefix}texts")
        if saved is not None and len(saved) == len(self.texts):
            self.texts = self.texts.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The weighted mean of the history's items: float [M, E]."""
        before = past(histories, positions, self.schema.num_items)
        items, weight = before.items.masked_fill(~before.mask, 0), before.weights(self.half_life)
        return functional.embedding_bag(items, self.texts, per_sample_weights=weight, mode="sum")

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors of texts; there is no bias."""
        return ItemVectors(self.texts if items is None else self.texts[items], None)
