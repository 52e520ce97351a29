"""Whole batches of texts, and the Lightning data module that deals them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from lightning_rec.data.core.batches import BatchModule, Part
from lightning_rec.language.tokens import Tokenized, Tokens
from lightning_rec.ranges import Workers

Ints = NDArray[np.int64]


class TextBatch(NamedTuple):
    """Some texts.

    example: int64 [B]; their numbers within the part.
    tokens: of the texts.
    """

    example: Tensor
    tokens: Tokens


class SplitTexts(NamedTuple):
    """The texts of a catalogue, as tokens and in parts.

    texts: N of them.  tokens: of each.  parts: int64, numbers of the texts of each part.
    """

    texts: list[str]
    tokens: Tokenized
    parts: dict[str, Ints]


class TextSet(Dataset[TextBatch]):
    """The texts of a part, fetched as whole batches.

    Args:
        tokens: of all texts.
        which: int64 [n], the numbers of those of this part.
    """

    def __init__(self, tokens: Tokenized, which: Ints) -> None:
        self.tokens, self.which = tokens, which

    def __len__(self) -> int:
        return len(self.which)

    def __getitems__(self, indices: list[int]) -> TextBatch:
        """Fetch the texts with these numbers."""
        number = np.asarray(indices, dtype=np.int64)
        return TextBatch(torch.from_numpy(number), self.tokens.take(self.which[number]))


class TextData(BatchModule):
    """Shuffled texts to learn from; those of validation and test in their order.

    Args:
        tokens: of all texts.
        parts: int64, the numbers of the texts of ``train``, ``val`` and ``test``.
        seed: fixes the order of training batches, together with the epoch.
        batch_size: texts per training batch and process.
        eval_batch_size: texts per batch in evaluation.
        num_workers: processes that prepare batches; 0 prepares them in the training process,
            which is fastest: a batch is one look-up in memory.
    """

    def __init__(
        self,
        tokens: Tokenized,
        parts: Mapping[str, Ints],
        seed: int,
        batch_size: PositiveInt = 64,
        eval_batch_size: PositiveInt = 256,
        num_workers: Workers = 0,
    ) -> None:
        super().__init__(seed, batch_size, eval_batch_size, num_workers)
        self.tokens, self.parts = tokens, parts

    def batches(self, part: Part) -> TextSet:
        """The texts of a part."""
        return TextSet(self.tokens, self.parts[part])
