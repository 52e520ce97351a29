"""Items known by semantic ids: the mean of a learnt vector for each of their codes.

Singh et al., Better Generalization with Semantic IDs, RecSys 2024, section 4.2; the mean is that of
RPG (Hou et al., KDD 2025, section 3.2.1). Shapes: V = num_items, m levels, D = dim.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import INIT_STD, DescribedItems


class CodedItems(DescribedItems):
    """The mean of the vectors of an item's codes, which items with the same codes share.

    Args:
        read: the codes of all items, int64 [V, m], those of level l from the sum of the sizes
            before on, and how many there are in all; None if they come with weights.
    """

    codes: Tensor
    of_code: nn.Embedding

    def __init__(
        self, schema: Schema, dim: int, read: Callable[[], tuple[Tensor, int] | None]
    ) -> None:
        super().__init__(schema, dim)
        self.read_codes = read

    def make_layers(self) -> None:
        """Read the codes, and make a vector for each."""
        if (found := self.read_codes()) is not None:
            self._take(*found)
        super().make_layers()

    def draw_weights(self) -> None:
        """Draw the vectors of codes, and that of the mask."""
        if hasattr(self, "of_code"):
            nn.init.normal_(self.of_code.weight, std=INIT_STD * self.codes.shape[1] ** 0.5)
        super().draw_weights()

    def vectors(self, codes: Tensor) -> Tensor:
        """Vectors of different items, int64 [n] -> float [n, D]."""
        return functional.embedding_bag(self.codes[codes], self.of_code.weight, mode="mean")

    def _take(self, codes: Tensor, number: int) -> None:
        self.register_buffer("codes", codes)
        self.of_code = nn.Embedding(number, self.dim)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """The codes come with the weights of a run."""
        saved = state_dict.get(f"{prefix}codes")
        if saved is not None and not hasattr(self, "of_code"):
            self._take(torch.empty_like(saved), len(state_dict[f"{prefix}of_code.weight"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
