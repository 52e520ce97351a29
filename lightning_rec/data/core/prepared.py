"""What is made of raw files once: a folder of the cache, found again by what decides it."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from lightning_rec.data import plain
from lightning_rec.data.kept import kept, unwritable
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_file, sha256_json, write_json
from lightning_rec.screen import Screen

log = logging.getLogger(__name__)

Write = Callable[[list[Path], Path, Callable[[str], None]], dict[str, Any]]


class Raw(Protocol):
    """A data set that knows where its raw files are."""

    name: Any  # a string

    def files(self) -> list[Path]:
        """Paths of the raw files, fetched first if need be. Raises UserError if not to be had."""
        ...

    def settings(self) -> dict[str, Any]:
        """All settings that change what is read out of them (they enter the fingerprint)."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Data in a folder of the cache, written once and never changed: ``info.json`` says of what."""

    folder: Path

    @cached_property
    def info(self) -> dict[str, Any]:
        """Name, hash, counts and provenance."""
        return dict(read_json(self.folder / "info.json"))


def prepared(source: Raw, cache: Path, version: int | str, write: Write) -> Path:
    """The folder of what ``write`` makes of raw files, made once, and found by files, settings and
    ``version``. ``write`` is given files, folder and a function to tell of progress, and returns
    what ``info.json`` is to hold. Raises UserError if files or cache cannot be used.
    """
    if not re.fullmatch(r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}", source.name):
        raise UserError(
            f"data.name={source.name[:120]!r} names a folder of the cache: up to 100 characters, "
            "no slashes and no dot at the beginning. Say another: data.name=my_log."
        )
    files = source.files()
    status = Screen(stderr=True).status
    with status(f"{source.name}: checking the raw files"):
        raw = _identities(files)
    settings = source.settings()
    fingerprint = sha256_json([version, raw, settings])
    folder = cache / "prepared" / f"{source.name}-{fingerprint[:12]}"

    def make(temporary: Path) -> None:
        with _told(source, files, folder), status("") as line:
            info = write(files, temporary, line.update)
            known = {
                "name": source.name,
                "licence": getattr(source, "licence", "unknown"),
                "settings": settings,
                "version": version,
                "prepared_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            write_json(temporary / "info.json", {**known, **info, "files": raw})
        log.info("%s: prepared in %s", source.name, folder)

    return kept(folder, make)


def _identities(files: list[Path]) -> list[dict[str, Any]]:
    common = Path(os.path.commonpath([file.absolute().parent for file in files]))
    identities = []
    for file in files:
        try:
            facts = {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}.") from error
        identities.append({"name": file.absolute().relative_to(common).as_posix(), **facts})
    return identities


@contextmanager
def _told(source: Raw, files: list[Path], folder: Path) -> Iterator[None]:
    """Turn what Polars says of full disks and broken raw files into UserErrors."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the system's own, from writing
        reason = str(error).splitlines()[0]
        if "os error 28" in reason:
            raise unwritable(folder, "No space left on device") from error
        raise UserError(
            f"{source.name}: a raw file beside {files[0]} is broken ({reason}). "
            "Copy or download it again."
        ) from error
    finally:
        plain.clear()
