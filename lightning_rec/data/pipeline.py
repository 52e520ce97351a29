"""From a source and a protocol to audited data: prepare once, split once, audit every time."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning_rec.data.audit import audit
from lightning_rec.data.kept import kept
from lightning_rec.data.order import implausible, ordering
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions, Source
from lightning_rec.data.split import FORMAT, Split
from lightning_rec.data.splits import Protocol

log = logging.getLogger(__name__)


class Audited(NamedTuple):
    """Prepared data, its split, and what the audit counted."""

    data: Interactions
    split: Split
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the data."""
        return str(self.data.info["name"])

    @property
    def data_hash(self) -> str:
        """Its hash."""
        return str(self.data.info["data_hash"])

    @property
    def counts(self) -> dict[str, int]:
        """What the filters and the split left, by name."""
        return self.split.counts

    @property
    def validates(self) -> bool:
        """Whether there are validation targets."""
        return self.split.val.size > 0


def load(source: Source, protocol: Protocol, cache: Path) -> Audited:
    """Prepare, split and audit, reusing what the cache holds.

    Raises:
        UserError: where the data or the protocol cannot be used.
        LeakError: where the audit fails.
    """
    data = protocol.view(prepare(source, cache))
    folder = data.folder.with_name(f"{data.folder.name}-{protocol.hash()[:12]}-{FORMAT}")
    split = Split.load(kept(folder, lambda temporary: protocol.split(data).save(temporary)))
    facts = audit(data, split)
    known, ties = getattr(source, "in_order", False), getattr(source, "ties", None)
    order = ordering(data, split, known=known, ties=ties)
    odd = [] if split.times is None else implausible(split.times)
    for note in [*data.info["notes"], *split.notes, *order.notes, *odd, *_sample(protocol, split)]:
        log.warning(note)
    return Audited(data, split, facts | order.facts)


def _sample(protocol: Protocol, split: Split) -> Iterator[str]:
    """Say where a sample of candidates is the whole catalogue, under another name."""
    wanted = protocol.candidates.number if protocol.candidates else 0
    if wanted >= split.num_trained:
        yield (
            f"protocol.candidates.number={wanted:,}, but training has {split.num_trained:,} items: "
            "targets are ranked among all of them, and figures are not those of a sample."
        )
