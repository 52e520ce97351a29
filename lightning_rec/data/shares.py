"""What protocols of all problems have in common: names of parts, a hash, shares at random."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from lightning_rec.data.chance import bits
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.ranges import BelowOne

PARTS = ("train", "val", "test")
_BLOCK = 1 << 18  # random numbers made at once


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


@dataclass(frozen=True)
class RandomShares:
    """Assigns things to parts at random; the rest trains.

    Args:
        val: share for validation; 0 leaves none.
        test: share for the test.
        seed: fixes the draw, which depends on it and on the place of a thing alone.

    Raises UserError if nothing is left to train or to test on.
    """

    val: BelowOne
    test: BelowOne
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.val + self.test >= 1 or not self.test:
            raise UserError(
                f"protocol.val={self.val} and protocol.test={self.test} must leave something to "
                "train on, and something to test on."
            )

    @property
    def validates(self) -> bool:
        """Whether there is to be a validation part."""
        return self.val > 0

    def order(self, number: int) -> Ints:
        """All things in the order in which they are dealt, int64 [number]: the first to the test,
        then to validation. Those that come later are dealt among them, and move no others.
        """
        words = np.empty(number, dtype=np.uint64)
        for start in range(0, number, _BLOCK):
            place = np.arange(start, min(number, start + _BLOCK))
            words[place] = bits(self.seed, place)
        return np.argsort(words, kind="stable")

    def draw(self, number: int) -> NDArray[np.int8]:
        """The place in ``PARTS`` of each thing, int8 [number], at random."""
        order = self.order(number)
        part = np.zeros(number, dtype=np.int8)
        held = round(number * self.test)
        part[order[:held]] = PARTS.index("test")
        part[order[held : held + round(number * self.val)]] = PARTS.index("val")
        return part
