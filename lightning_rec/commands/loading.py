"""Importing PyTorch and Lightning, which takes most of the time until the first step."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from lightning_rec.screen import Screen


@contextmanager
def loading() -> Iterator[None]:
    """Tell that something is loading, and import it without collecting garbage, which is sooner.

    Modules make many objects that stay. They are looked through again and again while they
    come, and would be at each later collection: hence they are frozen, once.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        with Screen(stderr=True).status("loading PyTorch and Lightning"):
            _import_torchmetrics()
            yield
    finally:
        gc.freeze()
        gc.enable()


# torchmetrics imports these with itself, for single metrics of text and of speech; half a second.
_LATER = ("transformers", "scipy.signal")


def _import_torchmetrics() -> None:
    """Import torchmetrics without what it will hardly use; its metrics that do still find it."""
    later = [name for name in _LATER if name not in sys.modules and find_spec(name)]
    sys.modules |= {name: _Later(name) for name in later}
    try:
        import_module("torchmetrics")
    finally:
        for name in later:
            del sys.modules[name]


class _Later(ModuleType):
    """Stands for a module while others are imported that take names from it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = find_spec(name)

    def __getattr__(self, name: str) -> "_Name":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(self.__name__, name)


class _Name:
    """Stands for something in a module, which is imported once it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._found = module, name

    def __getattr__(self, name: str) -> Any:
        module, own = self._found
        return getattr(getattr(import_module(module), own), name)
