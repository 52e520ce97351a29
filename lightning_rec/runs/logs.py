"""Where log lines go: the run's own file, and warnings to the terminal as well."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rich.logging import RichHandler

from lightning_rec.runs.distributed import is_first
from lightning_rec.screen import Screen, VisibleFormatter

_told: ContextVar[set[str] | None] = ContextVar("told", default=None)


@contextmanager
def told_once() -> Iterator[None]:
    """Tell each warning, and each note on the data, once on the terminal, however many trainings
    have the same.

    Logs of runs have all of them.
    """
    before = _told.set(set())
    try:
        yield
    finally:
        _told.reset(before)


def _is_new(record: logging.LogRecord) -> bool:
    told = _told.get()
    ours = record.levelno >= logging.WARNING or record.name.startswith("lightning_rec.data")
    if told is None or not ours:
        return True
    if (words := record.getMessage()) in told:
        return False
    told.add(words)
    return True


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Log everything from INFO on to ``path``, if any, and our own lines to the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.INFO)
    handlers = _handlers(path) if is_first() else [logging.NullHandler()]
    for handler in handlers:
        root.addHandler(handler)
    logging.captureWarnings(True)
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).propagate = True
        logging.getLogger(noisy).handlers.clear()
    try:
        with warnings.catch_warnings():
            # Batches are cut from memory-mapped arrays: worker processes would only slow it down.
            warnings.filterwarnings("ignore", ".*does not have many workers.*")
            yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def _handlers(path: Path | None) -> list[logging.Handler]:
    screen = Screen(stderr=True)
    terminal: logging.Handler = logging.StreamHandler()  # a line a message, as grep wants it
    terminal.setFormatter(VisibleFormatter("%(levelname)-8s %(message)s"))
    if screen.is_terminal:
        terminal = RichHandler(console=screen, show_path=False, show_time=False)
        terminal.setFormatter(VisibleFormatter("%(message)s"))
    unseen = "lightning_rec.epochs" if screen.is_terminal else ""  # a progress bar says the same
    terminal.addFilter(lambda each: each.name.startswith("lightning_rec") and each.name != unseen)
    terminal.addFilter(_is_new)
    if path is None:
        return [terminal]
    file = logging.FileHandler(path, encoding="utf-8")
    # Said at each save, of saving; it reads as if a checkpoint were unpickled.
    file.addFilter(lambda record: "`weights_only` was not set" not in record.getMessage())
    file.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return [terminal, file]
