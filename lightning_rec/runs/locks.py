"""A lock, so that one process at a time writes a run folder."""

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning_rec.errors import UserError
from lightning_rec.runs.distributed import is_first
from lightning_rec.runs.processes import Command, alive

NAME = "writer.lock"
LEFTOVERS = (".*.tmp", "checkpoints/.*.tmp")  # of a process killed before it renamed them
_PATIENCE = 10.0  # seconds: what a killed process started may outlive it a little


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Lock ``folder``, which is made if need be, against further writers.

    The lock ends with the process that holds it, the first one of a training on several.
    Raises UserError naming host and process of another writer.
    """
    if not is_first():
        yield
        return
    path, there = folder / NAME, folder.exists()
    descriptor = _acquire(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{platform.node()} {os.getpid()} {Command.pid or ''}".encode())
        for leftover in (each for pattern in LEFTOVERS for each in folder.glob(pattern)):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        path.unlink(missing_ok=True)
        if not there:
            with suppress(OSError):  # what nothing was written to is not left behind
                folder.rmdir()
        os.close(descriptor)


def _acquire(path: Path) -> int:
    deadline = time.monotonic() + _PATIENCE
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # the one before may have removed it
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one before may have removed the file in the meantime.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            text = os.read(descriptor, 300).decode(errors="replace")
            host, process, command = [*text.split(" "), "", "", ""][:3]
            # A job of a sweep whose command is gone ends within a second.
            lives = alive(host, process) and (not command or alive(host, command))
            if lives or time.monotonic() > deadline:
                os.close(descriptor)
                raise UserError(
                    f"{path.parent} is being written by process {process} on {host}: wait until "
                    "it ends, stop it, or choose another folder."
                ) from None
            time.sleep(0.1)
        os.close(descriptor)
