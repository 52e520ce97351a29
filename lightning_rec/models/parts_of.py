"""The attentions and feed-forward layers of a model, as whoever cuts them needs to find them."""

from typing import Any

from torch import nn


def attentions(model: nn.Module) -> dict[str, Any]:
    """Modules of several ``heads``, by name: ``query``, ``key``, ``value``, ``output`` linear."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "heads", None), int)
        and module.heads > 1
        and _linear(module, "query", "key", "value", "output")
    }


def feedforwards(model: nn.Module) -> dict[str, Any]:
    """Modules with an inner layer, by name: ``expand`` into it, ``contract`` out of it.

    What lies between maps 0 to 0.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if _linear(module, "expand", "contract")
    }


def _linear(module: nn.Module, *names: str) -> bool:
    return all(isinstance(getattr(module, name, None), nn.Linear) for name in names)
