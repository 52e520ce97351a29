"""Writing files so that a kill at any moment leaves a whole file or none, and hashing them."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``target`` that becomes ``target`` if the block succeeds.

    Of a file, or of a folder; on an error nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """:func:`atomic_path` of a folder, which is made."""
    with atomic_path(target) as temporary:
        temporary.mkdir()
        yield temporary


def with_usual_modes(folder: Path) -> None:
    """Give files the mode of any other new file: libraries write safetensors for their user alone,
    and who serves a model may not be who trained it.
    """
    probe = folder / ".mode"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all. Raises ValueError on NaN."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of ``value`` as canonical JSON, keys sorted."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def name_of(folder: Path) -> str:
    """What a folder is called; where that is a number, as of a seed, the folder above is named."""
    return f"{folder.parent.name}/{folder.name}" if folder.name.isdecimal() else folder.name
