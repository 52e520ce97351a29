"""Without adding anything: all weights are tuned, none, or those of the top layers."""

from pydantic import PositiveInt
from torch import nn

from lightning_rec.adapters.base import Adapter, freeze
from lightning_rec.errors import UserError, listed, nearest


class Full(Adapter):
    """Every weight is tuned."""

    def attach(self, module: nn.Module) -> set[str]:
        """Let everything move."""
        module.requires_grad_(True)
        return {name for name, _ in module.named_parameters()}


class Frozen(Adapter):
    """No weight is tuned."""

    def attach(self, module: nn.Module) -> set[str]:
        """Let nothing move."""
        freeze(module)
        return set()


class TopLayers(Adapter):
    """The last layers are tuned, and what is registered after them; what is below stays.

    Args:
        k: how many layers.
        layers: dotted name of the list of layers; None takes the longest list there is.
    """

    def __init__(self, k: PositiveInt = 1, layers: str | None = None) -> None:
        self.k, self.layers = k, layers

    def attach(self, module: nn.Module) -> set[str]:
        """Let the last ``k`` layers move. Raises UserError if there are none, or fewer."""
        name, layers = self._stack(module)
        if len(layers) < self.k:
            raise UserError(
                f"adapter.k={self.k}: {type(module).__name__} has {len(layers)} layers in '{name}'."
            )
        freeze(module)
        top = [*layers[len(layers) - self.k :], *_after(module, name)]
        for part in top:
            part.requires_grad_(True)
        moving = {id(parameter) for part in top for parameter in part.parameters()}
        return {name for name, parameter in module.named_parameters() if id(parameter) in moving}

    def _stack(self, module: nn.Module) -> tuple[str, nn.ModuleList]:
        lists = {n: m for n, m in module.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
        if not lists:
            raise UserError(f"adapter: {type(module).__name__} has no list of layers to tune.")
        name = self.layers or max(lists, key=lambda each: len(lists[each]))
        if name not in lists:
            raise UserError(
                f"adapter.layers={name}: {type(module).__name__} has no such list of layers."
                f"{nearest(name, lists)} There are: {listed(lists)}."
            )
        return name, lists[name]


def _after(module: nn.Module, name: str) -> list[nn.Module]:
    """Modules that are registered after the one called ``name``, at each level above it."""
    found: list[nn.Module] = []
    here = module
    for step in name.split("."):
        children = dict(here.named_children())
        below = [*children].index(step)
        found += [*children.values()][below + 1 :]
        here = children[step]
    return found
