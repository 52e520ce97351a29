"""Whether tuning has an effect: what a module makes of one and the same input, before and after."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Probe:
    """Keeps the first input that a module is trained on, and its output then, without dropout."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.call: tuple[Any, Any] | None = None
        self.before: list[Tensor] = []
        self.hook = module.register_forward_hook(self._first, with_kwargs=True)

    def moved(self) -> bool:
        """Whether the module makes something else of that input by now; True if none was kept."""
        if self.call is None:  # as of a compiled module
            self.hook.remove()
            return True
        pairs = zip(self.before, self._made(), strict=True)
        return not all(torch.equal(before, now) for before, now in pairs)

    def _first(self, module: nn.Module, args: Any, kwargs: Any, made: Any) -> None:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.hook.remove()
            self.call = args, kwargs
            self.before = self._made()

    @torch.no_grad()
    def _made(self) -> list[Tensor]:
        assert self.call is not None
        with evaluating(self.module):
            return _tensors(self.module(*self.call[0], **self.call[1]))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Let a model evaluate for a while, in the midst of training perhaps."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _tensors(made: Any) -> list[Tensor]:
    """Every tensor in what a module returned, such as the outputs of transformers."""
    if isinstance(made, Tensor):
        return [made]
    parts = made.values() if isinstance(made, Mapping) else made
    return [each for part in parts if part is not None for each in _tensors(part)]
