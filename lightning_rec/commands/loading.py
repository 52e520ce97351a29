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
    """Stands for a module, or for what it has by the dotted name ``own``, until it is used.

    While others are imported it has every name; afterwards what is asked of it is imported.
    """

    def __init__(self, name: str, own: str = "") -> None:
        super().__init__(name)
        self._own = own
        self.__path__: list[str] = []  # a package, whose modules are to be found in sys.modules
        self.__spec__ = find_spec(name.split(".")[0])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if isinstance(sys.modules.get(self.__name__), _Later):
            return _Later(self.__name__, f"{self._own}.{name}")
        return getattr(self._real(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer; while others are imported, a decorator that asks when it is needed."""
        if not isinstance(sys.modules.get(self.__name__), _Later):
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
        return reduce(getattr, self._own.split(".")[1:], import_module(self.__name__))
