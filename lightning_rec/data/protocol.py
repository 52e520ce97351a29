"""What protocols of all problems have in common: a name, settings, and a hash of these."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

from lightning_rec.files import sha256_json


class Hashed:
    """A protocol, a dataclass: figures whose protocols differ in their hash do not compare."""

    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when the meaning of a protocol changes

    def settings(self) -> dict[str, Any]:
        """All settings, for the record."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    def hash(self, counts: Mapping[str, int] | None = None) -> str:
        """Hex SHA-256 of the settings: equal hashes on equal data mean comparable figures.

        ``counts`` are what a split left, for protocols whose meaning has changed on some data.
        """
        return sha256_json({"version": self.version, **self.settings()})
