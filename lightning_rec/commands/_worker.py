"""``lightning-rec _worker FOLDER``: a further process of a distributed training; not for people."""

from pathlib import Path


def run(arguments: list[str]) -> int:
    """Join the training in ``FOLDER``."""
    from lightning_rec.training import worker

    worker(Path(arguments[0]))
    return 0
