"""``lightning-rec _worker FOLDER``: a further process of a distributed training; not for people."""

from pathlib import Path

from lightning_rec.commands.loading import loading


def run(arguments: list[str]) -> int:
    """Join the training in ``FOLDER``."""
    with loading():
        from lightning_rec.training import worker

    worker(Path(arguments[0]))
    return 0
