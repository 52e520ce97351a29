"""Metrics of hidden words over a data set, the same to the last bit on any number of processes."""

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

FIGURES = ("loss", "perplexity", "accuracy")


class Answers(NamedTuple):
    """What was said of the hidden words of each text, ordered by its number.

    example: int64 [n].  asked: int64 [n], hidden words.  right: int64 [n], those that were found.
    loss: float64 [n], sum of -log p(word) over them.
    """

    example: Tensor
    asked: Tensor
    right: Tensor
    loss: Tensor


class WordMetrics(Metric):
    """Collects what was said of each text; computes every metric of :data:`FIGURES`.

    Sums are made in the order of the texts, so that they do not depend on who computed what.
    """

    full_state_update = False
    example: list[Tensor]
    asked: list[Tensor]
    right: list[Tensor]
    loss: list[Tensor]

    def __init__(self) -> None:
        super().__init__(sync_on_compute=True)
        for name in Answers._fields:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, answers: Answers) -> None:
        """Add those of a batch."""
        for name, values in answers._asdict().items():
            getattr(self, name).append(values)

    def compute(self) -> Answers:
        """All of them, complete on every process."""
        parts = (getattr(self, name) for name in Answers._fields)
        # Synchronised list states arrive as one tensor, others as a list.
        joined = [part if isinstance(part, Tensor) else torch.cat(part) for part in parts]
        order = torch.argsort(joined[0])
        return Answers(*(values[order] for values in joined))

    def figures(self, found: Answers) -> dict[str, Tensor]:
        """All metrics by name, float64 scalars.

        ``loss`` is the mean of -log p over the hidden words, ``perplexity`` exp(loss), ``accuracy``
        the share of them whose word has the highest p.
        """
        asked = found.asked.sum()
        loss = found.loss.sum() / asked
        return {"loss": loss, "perplexity": loss.exp(), "accuracy": found.right.sum() / asked}
