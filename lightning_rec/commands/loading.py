"""Importing PyTorch and Lightning, which takes most of the time until the first step."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
            yield
    finally:
        gc.freeze()
        gc.enable()
