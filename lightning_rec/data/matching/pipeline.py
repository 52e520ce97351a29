"""From a source of pairs and a protocol to audited arrays: prepared once, audited every time."""

from pathlib import Path
from typing import Any, NamedTuple

from lightning_rec.data.matching.audit import audit_matches
from lightning_rec.data.matching.pairs import PairSource, prepare_pairs
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.data.shares import PARTS


class AuditedMatches(NamedTuple):
    """Pairs under a protocol, and what the audit counted."""

    matches: Matches
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the data."""
        return str(self.matches.pairs.info["name"])

    @property
    def data_hash(self) -> str:
        """Its hash."""
        return str(self.matches.pairs.info["data_hash"])

    @property
    def counts(self) -> dict[str, int]:
        """What reading and the split left, by name."""
        counts: dict[str, int] = dict(self.matches.pairs.info["counts"])
        for part in PARTS:
            counts[f"{part} queries"] = len(self.matches.part(part))
            counts[f"{part} pairs"] = len(self.matches.pairs_of(part))
        return counts

    @property
    def validates(self) -> bool:
        """Whether there are validation queries."""
        return len(self.matches.val) > 0


def load_matches(source: PairSource, protocol: ByQuery, cache: Path) -> AuditedMatches:
    """Prepare, split and audit, reusing what the cache holds.

    Raises:
        UserError: where the data or the protocol cannot be used.
        LeakError: where the audit fails.
    """
    matches = protocol.assign(prepare_pairs(source, cache))
    return AuditedMatches(matches, audit_matches(matches))
