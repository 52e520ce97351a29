"""A module over trained models, whose weights are not among its own."""

from collections.abc import Callable, Sequence
from typing import Any, Self

from torch import nn


class Beside(nn.Module):
    """A module over trained models, whose weights are not among its own."""

    members: Sequence[Any]

    @property
    def models(self) -> list[nn.Module]:
        """The models."""
        return [*self.members]

    def freeze(self) -> None:
        """Train them no more."""
        for model in self.models:
            model.requires_grad_(False).eval()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """They move along to another device."""
        for model in self.models:
            model._apply(fn, recurse)
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved
