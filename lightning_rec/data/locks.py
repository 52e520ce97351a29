"""One process at a time writes a thing into the cache; the others wait and find it done."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lightning_rec.errors import UserError

log = logging.getLogger(__name__)


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold the lock of ``target``, a file or folder that is to be written.

    The lock belongs to the process: a kill releases it. Waiting is told in one line. Raises
    UserError if the cache cannot be written, also when the block finds the disk full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(target.name + ".lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.warning("Another process is preparing %s: waiting for it.", target.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        raise unwritable(target, error.strerror or str(error)) from error


def unwritable(target: Path, reason: str) -> UserError:
    """The error that says what to do about a cache that is full or read-only."""
    return UserError(
        f"The cache {target.parent} cannot be written ({reason}). "
        "Make room there, or set LIGHTNING_REC_CACHE to a folder that can be written."
    )
