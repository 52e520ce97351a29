"""Items known by semantic ids, of a table that ``lightning-rec ids`` has made."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from lightning_rec.data.semantic.table import read
from lightning_rec.data.split import Schema
from lightning_rec.items.base import Described, Reading
from lightning_rec.models.items.base import ComputedItems
from lightning_rec.models.items.codes import CodedItems
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.ranges import BelowOne


class SemanticIds(Described):
    """Items are known by their codes, which others share; of a run they become a part.

    Args:
        path: the folder of the table.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a training step.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
    """

    choice: ClassVar[str] = "semantic_ids"

    def __init__(
        self,
        path: str,
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        neighbours: NonNegativeInt = NEIGHBOURS,
    ) -> None:
        self.path = path
        self.title = f"semantic ids{' and ids' if ids else ''} of {Path(path).name}"
        self._set_ids(ids, id_dropout, neighbours)

    def described(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """A vector for each code."""

        def read_codes() -> tuple[Tensor, int] | None:
            assert reading is not None
            if reading.restoring:
                return None
            codes, sizes = self.codes(reading)
            return codes, sum(sizes)

        return CodedItems(schema, dim, read_codes)

    def codes(self, reading: Reading) -> tuple[Tensor, tuple[int, ...]]:
        """Codes of the catalogue's items, those of all levels numbered on: int64 [V, m]; and how
        many a level has. Raises UserError if an item has none.
        """
        table = read(Path(self.path))
        start = np.cumsum((0, *table.sizes))
        codes = table.of(reading.ids, self.path) + start[:-1]
        return torch.from_numpy(codes), table.sizes
