"""Metrics of masked words over a data set, the same to the last bit on any number of processes."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.metrics.collected import Collected
from lightning_rec.metrics.measure import Evidence, means


class Answers(NamedTuple):
    """Predictions of the masked words of each text, ordered by its number.

    example: int64 [n].  asked: int64 [n], masked words.  right: int64 [n], those that were found.
    loss: float64 [n], sum of -log p(word) over them.
    """

    example: Tensor
    asked: Tensor
    right: Tensor
    loss: Tensor


@dataclass(eq=False)
class Texts(Evidence):
    """Texts with masked words; see :class:`Answers`."""

    inputs = ("asked", "right", "losses")
    rows = "asked"
    asked: Tensor
    right: Tensor
    losses: Tensor

    @classmethod
    def sample(cls) -> "Texts":
        """Two texts."""
        losses = torch.tensor([1.5, 0.25], dtype=torch.float64)
        return cls(torch.tensor([3, 1]), torch.tensor([1, 1]), losses)


class WordMetrics(Collected[Answers]):
    """Collects predictions of the masked words of each text; computes every metric."""

    columns = Answers
    sections = {"words": Texts}
    families = ("words",)

    def update(self, answers: Answers) -> None:
        """Add those of a batch."""
        self.append(*answers)

    def figures(self, found: Answers) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars."""
        texts = Texts(found.asked, found.right, found.loss)
        return means(self.values("words", texts))


def loss(asked: Tensor, losses: Tensor) -> Tensor:
    """Mean of -log p over the masked words."""
    return losses.sum() / asked.sum()


def perplexity(asked: Tensor, losses: Tensor) -> Tensor:
    """Exponential of the mean of -log p over the masked words."""
    return loss(asked, losses).exp()


def accuracy(asked: Tensor, right: Tensor) -> Tensor:
    """Share of the masked words that have the highest p."""
    return right.sum() / asked.sum()
