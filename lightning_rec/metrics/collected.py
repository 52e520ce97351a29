"""Rows that are collected over batches and processes, and put in order before anything is summed.

So a figure is the same to the last bit on any number of processes, whoever computed what.
"""

from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torchmetrics import Metric

Rows = TypeVar("Rows", bound=tuple[Tensor, ...])


class Collected(Metric, Generic[Rows]):
    """Collects tensors of which the first numbers the rows; ``columns`` names and types them."""

    full_state_update = False
    columns: ClassVar[type[tuple[Tensor, ...]]]  # a NamedTuple

    def __init__(self) -> None:
        super().__init__(sync_on_compute=True)
        for name in self._names():
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def append(self, *rows: Tensor) -> None:
        """Add the columns of a batch."""
        for name, values in zip(self._names(), rows, strict=True):
            getattr(self, name).append(values)

    def rows(self) -> Rows:
        """All rows, by their number; complete on every process once they are synchronised."""
        order = torch.argsort(joined(getattr(self, self._names()[0])))
        values = (joined(getattr(self, name))[order] for name in self._names())
        return self.columns(*values)  # type: ignore[return-value]

    def _names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.columns._fields  # type: ignore[attr-defined]
        return names


def joined(parts: "Tensor | list[Tensor]") -> Tensor:
    """A list state as one tensor, which it is already where it was synchronised."""
    return parts if isinstance(parts, Tensor) else torch.cat(list(parts))
