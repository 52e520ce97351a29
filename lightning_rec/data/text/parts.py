"""Which texts of a catalogue train, validate and test; the audit of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.protocol import Hashed
from lightning_rec.data.shares import PARTS, RandomShares
from lightning_rec.data.text.texts import Tokenized, texts_hash
from lightning_rec.errors import LeakError, UserError
from lightning_rec.ranges import BelowOne

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class RandomTexts(RandomShares, Hashed):
    """Texts at random, by ratio; texts that differ in capitals and blanks alone go to one part.

    Args:
        val: share of the different texts for validation; 0 leaves none.
        test: share of the different texts for the test.
        seed: fixes the draw.

    Raises:
        UserError: if nothing is left to train or to test on.
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


class AuditedTexts(NamedTuple):
    """The texts of a catalogue, as tokens and in parts, and what the audit counted.

    texts: N of them.  tokens: of each.  parts: int64, numbers of the texts of each part.
    """

    name: str
    texts: list[str]
    tokens: Tokenized
    parts: dict[str, Ints]
    facts: dict[str, Any]

    @property
    def data_hash(self) -> str:
        """SHA-256 of the texts, which are all that is learnt from."""
        return texts_hash(self.texts)

    @property
    def counts(self) -> dict[str, int]:
        """How many texts are in each part."""
        return {f"{name} texts": len(which) for name, which in self.parts.items()}

    @property
    def validates(self) -> bool:
        """Whether there are texts of validation."""
        return len(self.parts["val"]) > 0


def plain(text: str) -> str:
    """A text without what differs in capitals and blanks alone."""
    return " ".join(text.lower().split())


def audit_texts(texts: Sequence[str], tokens: Tokenized, parts: dict[str, Ints]) -> dict[str, Any]:
    """Check that each text is in one part alone, and no text of one part in another.

    Runs before every training and evaluation. Returns what was counted, for the provenance card.

    Raises:
        LeakError: when a check fails. It is a bug of the protocol.
    """
    times = np.bincount(np.concatenate(list(parts.values())), minlength=len(texts))
    if (times != 1).any():
        raise LeakError("leak audit: a text is in no part, or in two. Please report this bug.")
    words = {name: {plain(texts[at]) for at in which.tolist()} for name, which in parts.items()}
    if (words["train"] & words["test"]) or (words["train"] | words["test"]) & words["val"]:
        raise LeakError("leak audit: a text is in two parts. Please report this bug.")
    return {
        "texts": len(texts),
        "different texts": sum(len(each) for each in words.values()),
        "tokens": int(tokens.offsets[-1]),
        "interactions read": 0,  # the catalogue alone: nothing that anybody did can leak
    }
