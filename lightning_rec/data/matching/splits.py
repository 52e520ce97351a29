"""Protocols of matching: which queries train, which choose the best epoch, which are tested.

As for sequences, a protocol has a hash, and figures with different hashes do not compare.
"""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.data.shares import PARTS, Hashed, RandomShares
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.ranges import BelowOne

AGAIN = 2**32  # added to the seed, where training queries are dealt once more


@dataclass(frozen=True)
class Matches:
    """Pairs under a protocol, and the queries of each part, int64, rising."""

    pairs: Pairs
    train: Ints
    val: Ints
    test: Ints

    def part(self, name: str) -> Ints:
        """Queries of a part: ``train``, ``val`` or ``test``."""
        return np.asarray(getattr(self, name))

    def pairs_of(self, name: str) -> Ints:
        """Numbers of the pairs of a part, rising: int64."""
        inside = np.zeros(self.pairs.num_queries, dtype=bool)
        inside[self.part(name)] = True
        return np.flatnonzero(inside[self.pairs.query])


@dataclass(frozen=True)
class ByQuery(RandomShares, Hashed):
    """Queries at random: all pairs of a query are in one part.

    Args:
        val, test, seed: see :class:`lightning_rec.data.shares.RandomShares`.
        cutoffs: the k of ``ndcg@k`` and ``recall@k``.
        earlier: of the training queries, the share that becomes the test, for the ranker of a
            pipeline; the others train, and nothing validates. 0: the split as it is.
    """

    kind: ClassVar[str] = "pairs"

    val: BelowOne = 0.05
    test: BelowOne = 0.1
    cutoffs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 5, 10, 50, 100)

    earlier: BelowOne = 0.0

    name: ClassVar[str] = "by_query"

    @property
    def validates(self) -> bool:
        """Whether there is to be a validation part."""
        return self.val > 0 and not self.earlier

    def settings(self) -> dict[str, Any]:
        """All settings, for the record; ``earlier``, which came later, where it is not 0."""
        told = {"name": self.name, **asdict(self)}
        return told if self.earlier else {key: told[key] for key in told if key != "earlier"}

    def assign(self, pairs: Pairs) -> Matches:
        """Draw the queries of each part. Raises UserError where one is empty."""
        name, number = pairs.info["name"], pairs.num_queries
        if max(self.cutoffs) > pairs.num_items:
            fit = [k for k in self.cutoffs if k <= pairs.num_items] or [1]
            raise UserError(
                f"protocol.cutoffs has {max(self.cutoffs)}, but {name} has only "
                f"{pairs.num_items:,} items: use cut-offs up to that, as in "
                f"'protocol.cutoffs=[{','.join(map(str, fit))}]'."
            )
        drawn = self.draw(number)
        train, val, test = (np.flatnonzero(drawn == place) for place in range(len(PARTS)))
        for part, queries in (("train", train), ("test", test)):
            if not len(queries):
                raise UserError(f"{name}: of {number} queries the protocol leaves none in {part}.")
        return self._again(pairs, train) if self.earlier else Matches(pairs, train, val, test)

    def _again(self, pairs: Pairs, queries: Ints) -> Matches:
        """The training queries alone, dealt once more by a draw of its own."""
        shares = RandomShares(val=0.0, test=self.earlier, seed=self.seed + AGAIN)
        drawn = shares.draw(len(queries))
        train, test = (queries[drawn == PARTS.index(part)] for part in ("train", "test"))
        if not len(train) or not len(test):
            raise UserError(
                f"protocol.earlier={self.earlier:g} leaves none of {len(queries)} training queries "
                "to train on, or none to test on: say another share."
            )
        return Matches(pairs, train, queries[:0], test)
