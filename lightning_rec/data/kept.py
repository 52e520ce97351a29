"""Folders of the cache: made once, checked whenever they are used, made again where they broke."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, sha256_file, write_json

CHECKSUMS = "checksums.json"  # SHA-256 of each file beside it
AUDIT = "audit.json"

log = logging.getLogger(__name__)


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder of the cache, filled by ``make`` in one process, whole or not at all; made again,
    with a warning, where a file differs from its checksum. Raises UserError if it cannot be
    written.
    """
    if broken(folder) is None:
        return folder
    with alone(folder):
        if (fault := broken(folder)) is None:  # another process was sooner
            return folder
        if (folder / CHECKSUMS).exists():  # else it was never finished
            log.warning(
                "%s is broken (%s is not what was written): it is made again.", folder, fault
            )
        for leftover in [folder, *folder.parent.glob(f".{folder.name}.*.tmp")]:
            shutil.rmtree(leftover, ignore_errors=True)
        with atomic_folder(folder) as temporary:
            make(temporary)
            seal(temporary)
    return folder


def kept_audit(folder: Path, audit: Callable[[], Any]) -> Any:
    """What ``audit`` found in the data of ``folder``, as JSON has it, kept beside it for as long as
    the code of ``data`` is the same. Nothing is kept of an audit that raises.
    """
    found = folder.with_name(f"{folder.name}-audit-{_code()}")
    kept(found, lambda temporary: write_json(temporary / AUDIT, audit()))
    return read_json(found / AUDIT)


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def mapped(folder: Path, name: str) -> Any:
    """An array of a folder, memory-mapped, read-only; None where there is none."""
    path = folder / f"{name}.npy"
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.exists() else None


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Hold the lock of ``target``, a file or folder that is to be written; a kill releases it.
    Raises UserError if the cache cannot be written, also when the block finds the disk full.
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


def seal(folder: Path) -> None:
    """Note the checksum of each file in a folder that is complete."""
    write_json(folder / CHECKSUMS, {n: sha256_file(path) for n, path in _files(folder).items()})


def broken(folder: Path) -> str | None:
    """The name of the first file that is missing or changed; ``CHECKSUMS`` if there are none."""
    try:
        checksums = read_json(folder / CHECKSUMS)
    except UserError:
        return CHECKSUMS
    if not isinstance(checksums, dict) or set(_files(folder)) - set(checksums):
        return CHECKSUMS
    for name, checksum in checksums.items():
        path = folder / str(name)
        if not path.is_file() or sha256_file(path) != checksum:
            return str(name)
    return None


def _files(folder: Path) -> dict[str, Path]:
    names = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {name: path for name, path in names.items() if path.is_file() and name != CHECKSUMS}
