"""What models that say an item by its semantic id share: the codes of all items, and where from.

Shapes: V = num_items, m levels (the last digit among them), K codes of a level.
"""

from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.semantic.table import Settings, made
from lightning_rec.data.split import Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.events import event_vectors

EVENT_VECTORS = 64  # their width


class CodedModel(SequenceModel):
    """A model that gives a history's next item a probability by its codes.

    It makes codes of what ``item=`` knows of items (``text``, ``vectors``), takes those of a table
    (``semantic_ids``), or makes them of who had which item in training (``ids``). They belong to
    its state.

    Attributes:
        codes: int64 [V, m], those of level l numbered from l K on.
    """

    objectives = ("next_item",)
    likelihood = True
    statistics: ClassVar[tuple[str, ...]] = ("codes",)  # of training, as an update takes them over
    codes: Tensor

    def __init__(
        self, schema: Schema, quantizer: Quantizer, levels: int, codes: int, unique: bool
    ) -> None:
        super().__init__(schema)
        self.settings = Settings(quantizer, levels, codes, unique)
        self.levels, self.size = levels + unique, codes
        # Drawn ones for who fits nothing, as heads over rows of clicks: items are then told apart.
        drawn = np.random.default_rng(0).integers(codes, size=(schema.num_items, self.levels))
        self.register_buffer("codes", self._numbered(drawn))

    def fit(self, split: Split) -> None:
        """Make codes of the training events."""
        self._make(event_vectors(split, EVENT_VECTORS), split.num_trained)

    def read_vectors(self, vectors: Tensor, trained: int | None = None) -> None:
        """Make codes of vectors, float [V, E]. Raises UserError where they do not tell apart."""
        self._make(vectors, None)

    def read_codes(self, codes: Tensor, sizes: tuple[int, ...]) -> None:
        """Take codes, int64 [V, m] as they are here. Raises UserError if they do not fit."""
        if sizes != (self.size,) * self.levels:
            last = self.settings.unique
            raise UserError(
                f"item.path has levels of {list(sizes)} codes and model has {self.levels} of "
                f"{self.size}, {'the last digit among them' if last else 'no last digit'}: say "
                "model.levels, model.codes and model.unique as the table was made."
            )
        self.codes.copy_(codes)

    def _make(self, vectors: Tensor, learnt: int | None) -> None:
        table = made(
            pl.Series(range(self.schema.num_items)), vectors.float().cpu(), self.settings, learnt
        )
        self.codes.copy_(self._numbered(table.codes))

    def _numbered(self, codes: NDArray[Any]) -> Tensor:
        return torch.as_tensor(codes, dtype=torch.int64) + self.size * torch.arange(self.levels)
