"""Who may ask: keys of a file that is read again when it changes, or of the environment."""

import hashlib
import hmac
import logging
import os
import time
from pathlib import Path

from lightning_rec.errors import UserError

VARIABLE = "LIGHTNING_REC_KEYS"
ADMIN = "admin"
_SHORTEST = 16
_EVERY = 1.0  # seconds between two looks at the file

log = logging.getLogger(__name__)


class Keys:
    """Keys with names, as hashes. ``file``: lines of ``NAME KEY``, ``#`` begins a comment.

    Without a file they are those of ``LIGHTNING_REC_KEYS``, ``NAME KEY`` with commas between.
    Raises UserError if a file cannot be read, holds no key, or one that can be guessed.
    """

    def __init__(self, file: Path | None, environment: str = "") -> None:
        self.file, self._looked = file, time.monotonic()
        self._known, self._stamp = dict[bytes, str](), tuple[int, ...]()
        if file is not None:
            self._read(file)
        elif environment:
            self._known = _parsed(environment.replace(",", "\n"), VARIABLE)

    @classmethod
    def of(cls, file: Path | None) -> "Keys":
        """Those of the file, or of the environment."""
        return cls(file, os.environ.get(VARIABLE, ""))

    def __bool__(self) -> bool:
        return bool(self._known)

    def name_of(self, key: str) -> str | None:
        """Whose key it is; None if it is none. It takes as long for a wrong one."""
        self._look()
        digest, found = _hashed(key), None
        for known, name in self._known.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _look(self) -> None:
        """Read the file again where it has changed; if it is broken the keys stay as they are."""
        now = time.monotonic()
        if self.file is None or now - self._looked < _EVERY:
            return
        self._looked = now
        try:
            if _stamp(self.file) != self._stamp:
                self._read(self.file)
                log.info("keys=%s was read again.", self.file)
        except (UserError, OSError) as error:
            log.error("Keys stay as they were: %s", error)

    def _read(self, file: Path) -> None:
        try:
            stamp, text = _stamp(file), file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"keys={file} cannot be read ({error}).") from None
        self._known, self._stamp = _parsed(text, f"keys={file}"), stamp


def _stamp(file: Path) -> tuple[int, ...]:
    told = file.stat()
    return (told.st_ino, told.st_size, told.st_mtime_ns)


def _parsed(text: str, where: str) -> dict[bytes, str]:
    found = dict[bytes, str]()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise UserError(f"{where}, line {number}: a line is a name, a blank and a key.")
        if len(words[1]) < _SHORTEST:
            raise UserError(
                f"{where}, line {number}: the key of {words[0]} has fewer than {_SHORTEST} letters "
                "and can be guessed. Make one with: openssl rand -hex 32"
            )
        found[_hashed(words[1])] = words[0]
    if not found:
        raise UserError(f"{where} holds no key: put one in, as 'shop {'…' * 3}'.")
    return found


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
