"""From a source of pairs and a protocol to audited arrays: prepared once, audited every time."""

from pathlib import Path

from lightning_rec.data.core.audited import Audited
from lightning_rec.data.matching.audit import audit_matches
from lightning_rec.data.matching.pairs import PairSource, prepare_pairs
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.data.shares import PARTS


def load_matches(source: PairSource, protocol: ByQuery, cache: Path) -> Audited[Matches]:
    """Prepare, split and audit, reusing what the cache holds. Raises UserError where the data or
    the protocol cannot be used, and LeakError where the audit fails.
    """
    matches = protocol.assign(prepare_pairs(source, cache))
    audit = getattr(source, "audit", None)  # of pairs that are made of something else
    counts: dict[str, int] = dict(matches.pairs.info["counts"])
    for part in PARTS:
        counts[f"{part} queries"] = len(matches.part(part))
        counts[f"{part} pairs"] = len(matches.pairs_of(part))
    return Audited(
        name=matches.pairs.info["name"],
        data_hash=matches.pairs.info["data_hash"],
        data=matches,
        counts=counts,
        facts=audit_matches(matches) | (audit(matches.pairs) if audit is not None else {}),
        validates=len(matches.val) > 0,
    )
