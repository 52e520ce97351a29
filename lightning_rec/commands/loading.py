"""Importing PyTorch and Lightning, which takes most of the time until the first step."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce, wraps
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from lightning_rec.screen import Screen


@contextmanager
def loading() -> Iterator[None]:
    """Show that something is loading, and import it faster, without garbage collection."""
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


# torchmetrics imports these with itself, for single metrics of text and speech and for plots: most
# of a second.
_LATER = ("transformers", "scipy.signal", "matplotlib", "matplotlib.axes", "matplotlib.pyplot")


def _import_torchmetrics() -> None:
    """Import torchmetrics without what it will hardly use; what it does use, it still finds."""
    later = [name for name in _LATER if name not in sys.modules and find_spec(name.split(".")[0])]
    for name in later:
        sys.modules[name] = _Later(name)
        parent, _, own = name.rpartition(".")
        if parent in later:
            setattr(sys.modules[parent], own, sys.modules[name])
    try:
        import_module("torchmetrics")
    finally:
        for name in later:
            del sys.modules[name]


class _Later(ModuleType):
    """Stands for a module: for names of it while others are imported, and afterwards for itself."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # a package, whose modules are to be found in sys.modules
        self.__spec__ = find_spec(name.split(".")[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            return _Name(self.__name__, name)
        return getattr(import_module(self.__name__), name)


class _Name:
    """Stands for something in a module, which is imported once it is used."""

    def __init__(self, module: str, name: str) -> None:
        self._found = module, name

    def __getattr__(self, name: str) -> Any:
        module, own = self._found
        if isinstance(sys.modules.get(module), _Later):
            return _Name(module, f"{own}.{name}")
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer; while others are imported, a decorator that asks when it is needed."""
        if not isinstance(sys.modules.get(self._found[0]), _Later):
            return self._real()(*args, **kwargs)

        def decorate(function: Any) -> Any:
            @wraps(function)
            def decorated(*own: Any, **named: Any) -> Any:
                return self._real()(*args, **kwargs)(function)(*own, **named)

            return decorated

        return decorate

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._real())

    def _real(self) -> Any:
        module, own = self._found
        return reduce(getattr, own.split("."), import_module(module))
