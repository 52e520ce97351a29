"""Audited data, whatever its kind: what the record of a run says of it, and how audits say what is
wrong with it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_rec.data.shares import PARTS
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import LeakError, UserError

T = TypeVar("T")
OnFinding = Literal["warn", "error"]

ROWS = "rows"  # what a finding about whole rows is called


@dataclass(frozen=True)
class Audited(Generic[T]):
    """Data that was prepared, split and audited.

    name: of the data set. data_hash: SHA-256 of all that figures depend on.
    data: the split itself; of what kind depends on the problem.
    counts: what reading, the filters and the split left, by name.
    facts: what the audit counted. validates: whether there is a validation part.
    """

    name: str
    data_hash: str
    data: T
    counts: dict[str, int]
    facts: dict[str, Any]
    validates: bool

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={count:,}" for name, count in self.counts.items() if count)
        return f"Audited({self.name}: {counts})"


def leak(told: str) -> LeakError:
    """What a check of an audit raises where it fails."""
    return LeakError(f"leak audit: {told}. This is a bug: please report it.")


def fail(check: str, culprits: Mask, rows: Ints | int = 0) -> None:
    """Raise LeakError if there are culprits, in these rows of the table, or from there on."""
    if culprits.any():
        first = int(np.flatnonzero(culprits)[0])
        row = rows + first if isinstance(rows, int) else rows[first]
        times = f"{int(culprits.sum()):,} times, first at row {row} of the prepared table"
        raise leak(f"{check} ({times})")


def assigned_parts(parts: Mapping[str, Ints], size: int, what: str) -> NDArray[np.int8]:
    """The place in ``PARTS`` of each row, query or text (``what``), -1 for none: int8 [size]."""
    found = np.full(size, -1, dtype=np.int8)
    for place, name in enumerate(PARTS):
        rows = np.asarray(parts[name])
        twice = found[rows] >= 0
        twice[1:] |= rows[1:] <= rows[:-1]
        fail(f"a {what} is in two parts, or twice in one", twice, rows)
        found[rows] = place
    return found


class Finding(NamedTuple):
    """Something that may make figures worthless: about the column ``name``, or ``rows``.

    refused: whether it is an error until it is accepted, whatever ``audit`` is.
    """

    name: str
    sentence: str
    refused: bool = False


def judged(
    found: Iterable[Finding], audit: OnFinding, accept: Collection[str]
) -> dict[str, list[str]]:
    """The sentences to be told, and those that were accepted by name, for the card. Raises
    UserError under ``audit="error"``, and for what is refused, with all that is not accepted.
    """
    found = list(found)
    told = [each for each in found if each.name not in accept]
    if told and (audit == "error" or any(each.refused for each in told)):
        from lightning_rec.config import as_override  # imports Hydra

        names = as_override(list(dict.fromkeys((*accept, *(each.name for each in told)))))
        raise UserError(
            f"leak audit: {' '.join(each.sentence for each in told)} This is an error"
            f"{' by protocol.audit=error' * (audit == 'error')}; where it is as it should be, say "
            f"'protocol.accept={names}'."
        )
    known = [each.sentence for each in found if each.name in accept]
    return {"told": [each.sentence for each in told]} | ({"accepted": known} if known else {})
