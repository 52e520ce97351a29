"""What every sequence model offers to the rest of the house."""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from lightning_rec.data.split import Schema


@runtime_checkable
class SequenceModel(Protocol):
    """A module that reads item codes and scores the catalogue.

    ``objectives`` names the objectives it can learn by, the published one first.
    """

    objectives: ClassVar[tuple[str, ...]]
    schema: Schema

    def __call__(self, items: Tensor) -> Tensor:
        """Encode item codes int64 [B, L] (padded on the left) to float [B, L, dim]."""
        ...

    def scores(self, hidden: Tensor) -> Tensor:
        """Score every item: float [..., dim] -> [..., num_items]."""
        ...


@runtime_checkable
class Fitted(Protocol):
    """A model that is fitted by counting or solving instead of gradient steps."""

    def fit(self, train_counts: Tensor) -> None:
        """Fit on ``train_counts``, int64 [num_items]."""
        ...
