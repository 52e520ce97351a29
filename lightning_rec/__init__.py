"""A PyTorch Lightning toolkit for recommenders whose numbers can be trusted."""

from typing import Any

from lightning_rec import threads

__version__ = "0.1.0"

__all__ = [
    "Rules",
    "ensemble",
    "evaluate",
    "forecast",
    "load_data",
    "load_run",
    "open_model",
    "pipeline",
    "sweep",
    "train",
]

threads.choose()


def __getattr__(name: str) -> Any:
    """Import what a notebook needs when it is asked for: torch takes a second."""
    if name == "open_model":  # without what training needs
        from lightning_rec.bundle import open_model

        return open_model
    if name == "Rules":
        from lightning_rec.rules.rules import Rules

        return Rules
    if name in __all__:
        from lightning_rec import api

        return getattr(api, name)
    raise AttributeError(f"module 'lightning_rec' has no attribute {name!r}")
