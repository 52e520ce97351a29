"""Whole batches of texts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.core.batches import BatchData, Part
from lightning_rec.language.tokens import Tokenized, Tokens

Ints = NDArray[np.int64]


class TextBatch(NamedTuple):
    """Some texts: their numbers within the part, int64 [B], and their tokens."""

    example: Tensor
    tokens: Tokens


class SplitTexts(NamedTuple):
    """The texts of a catalogue, as tokens, and the numbers of those of each part, int64."""

    texts: list[str]
    tokens: Tokenized
    parts: dict[str, Ints]


class TextSet(Dataset[TextBatch]):
    """The texts of a part, fetched as whole batches; ``which``, int64 [n], are their numbers."""

    def __init__(self, tokens: Tokenized, which: Ints) -> None:
        self.tokens, self.which = tokens, which

    def __len__(self) -> int:
        return len(self.which)

    def __getitems__(self, indices: list[int]) -> TextBatch:
        """Fetch the texts with these numbers."""
        number = np.asarray(indices, dtype=np.int64)
        return TextBatch(torch.from_numpy(number), self.tokens.take(self.which[number]))


@dataclass(eq=False, kw_only=True)
class TextData(BatchData):
    """Shuffled texts to learn from; those of validation and test in their order.

    Args:
        tokens: of all texts.
        parts: int64, the numbers of the texts of ``train``, ``val`` and ``test``.
    """

    tokens: Tokenized
    parts: Mapping[str, Ints]
    batch_size: PositiveInt = 64
    eval_batch_size: PositiveInt = 256

    def batches(self, part: Part) -> TextSet:
        """The texts of a part."""
        return TextSet(self.tokens, self.parts[part])
