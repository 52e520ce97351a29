"""A PyTorch Lightning toolkit for recommenders whose numbers can be trusted."""

from typing import Any

from lightning_rec import threads

__version__ = "0.1.0"

__all__ = ["load_run"]

threads.choose()


def __getattr__(name: str) -> Any:
    """Import what a notebook needs when it is asked for: torch takes a second."""
    if name == "load_run":
        from lightning_rec.predict import load_run

        return load_run
    raise AttributeError(f"module 'lightning_rec' has no attribute {name!r}")
