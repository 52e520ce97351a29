"""The split of the texts of a catalogue, and its audit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lightning_rec.data.core.audited import assigned_parts, fail, leak
from lightning_rec.data.shares import PARTS, Hashed, RandomShares
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.ranges import BelowOne


@dataclass(frozen=True)
class RandomTexts(RandomShares, Hashed):
    """Texts at random, by ratio; texts that differ in capitals and blanks alone go to one part.

    ``val``, ``test`` and ``seed``: see :class:`lightning_rec.data.shares.RandomShares`.
    """

    kind: ClassVar[str] = "texts"

    val: BelowOne = 0.05
    test: BelowOne = 0.05

    name: ClassVar[str] = "random_texts"

    def assign(self, texts: Sequence[str]) -> dict[str, Ints]:
        """Numbers of the texts of each part, rising: int64. Raises UserError if one is empty."""
        same = np.array([plain(text) for text in texts], dtype=object)
        kind = np.unique(same, return_inverse=True)[1]
        number = int(kind.max(initial=-1)) + 1
        part = self.draw(number)[kind]
        parts = {name: np.flatnonzero(part == place) for place, name in enumerate(PARTS)}
        for name, which in parts.items():
            if not len(which) and (name != "val" or self.validates):
                raise UserError(
                    f"protocol={self.name} leaves no text in {name} of {number:,} different ones: "
                    "raise protocol.val or protocol.test, or take a larger catalogue."
                )
        return parts


def plain(text: str) -> str:
    """A text without what differs in capitals and blanks alone."""
    return " ".join(text.lower().split())


def audit_texts(texts: Sequence[str], tokens: int, parts: dict[str, Ints]) -> dict[str, Any]:
    """Check that each text is in one part alone; returns what was counted. Raises LeakError."""
    fail("a text is in no part", assigned_parts(parts, len(texts), "text") < 0)
    words = {name: {plain(texts[at]) for at in which.tolist()} for name, which in parts.items()}
    if (words["train"] & words["test"]) or (words["train"] | words["test"]) & words["val"]:
        raise leak("a text is in two parts, in other capitals or blanks")
    return {
        "texts": len(texts),
        "different texts": sum(len(each) for each in words.values()),
        "tokens": tokens,
        "interactions read": 0,  # the catalogue alone: nothing that anybody did can leak
    }
