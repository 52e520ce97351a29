"""From a source and a protocol to audited data: prepared, split and audited once."""

import logging
from pathlib import Path
from typing import NamedTuple

from lightning_rec.data.audit import audit
from lightning_rec.data.behaviors import hash_with_targets
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.graphs.audit import audit_graph, events_of
from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.graphs.graph import KnowledgeGraph, coded, isolated
from lightning_rec.data.kept import kept, kept_audit
from lightning_rec.data.order import implausible, ordering
from lightning_rec.data.prepare import prepare
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions, Source
from lightning_rec.data.sources.joined import JoinedSource
from lightning_rec.data.split import SPLIT_FORMAT, Split

log = logging.getLogger(__name__)


class SplitLog(NamedTuple):
    """Interactions, their split, and the knowledge graph over the items of the split, if any."""

    log: Interactions
    split: Split
    graph: KnowledgeGraph | None = None


AuditedLog = Audited[SplitLog]


def load(source: Source, protocol: SplitProtocol, cache: Path) -> AuditedLog:
    """Prepare, split and audit, reusing what the cache holds. Raises UserError where the data or
    the protocol cannot be used, and LeakError where the audit fails.
    """
    data = protocol.view(prepare(source, cache))
    folder = data.folder.with_name(f"{data.folder.name}-{protocol.hash()[:12]}-{SPLIT_FORMAT}")
    split = Split.load(kept(folder, lambda temporary: protocol.split(data).save(temporary)))
    facts = kept_audit(folder, lambda: audit(data, split, protocol.behavior))
    known, ties = getattr(source, "in_order", False), getattr(source, "ties", None)
    order = ordering(data, split, known=known, ties=ties)
    odd = [] if split.times is None else implausible(split.times)
    graph, of_graph = _graph(source, data, split)
    if isinstance(source, JoinedSource):
        odd = [*odd, *source.without_targets(data.items, split)]
    for note in [*data.info["notes"], *split.notes, *order.notes, *odd, *of_graph]:
        log.warning(note)
    sample = protocol.candidates.number if protocol.candidates else 0
    if sample >= split.num_trained:
        log.warning(
            f"protocol.candidates.number={sample:,}, but training has {split.num_trained:,} items: "
            "targets are ranked among all of them, and figures are not those of a sample."
        )
    return Audited(
        name=data.info["name"],
        data_hash=hash_with_targets(data, protocol.behavior),
        data=SplitLog(data, split, graph),
        counts=split.counts,
        facts=facts | order.facts | ({} if graph is None else graph.facts),
        validates=split.val.size > 0,
    )


def _graph(
    source: Source, data: Interactions, split: Split
) -> tuple[KnowledgeGraph | None, list[str]]:
    """The knowledge graph that a source names, audited, and what is told of it."""
    files: GraphFiles | None = getattr(source, "graph_files", None)
    if files is None:
        return None, []
    facts = files.read(data.items["item"])
    told = audit_graph(facts, events_of(data, split))
    items = data.items["item"].gather(split.vocabulary.tolist())
    graph = coded(facts, items)
    return graph, [*facts.notes, *told, *isolated(graph, items, str(source.name))]
