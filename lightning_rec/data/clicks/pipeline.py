"""From a source of clicks and a protocol to audited arrays: prepared and audited once."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import ENCODED_FORMAT, Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.graphs import graph_of
from lightning_rec.data.clicks.items import Items, items_of
from lightning_rec.data.clicks.splits import RowProtocol, seconds_of
from lightning_rec.data.clicks.table import ClickSource, ClickTable, prepare_clicks
from lightning_rec.data.core.audited import Audited, Finding, judged
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.kept import kept, kept_audit
from lightning_rec.data.order import implausible
from lightning_rec.errors import listed
from lightning_rec.files import sha256_json

log = logging.getLogger(__name__)


class SplitClicks(NamedTuple):
    """A table of clicks and its arrays under a protocol, when the first row of validation or test
    is, in seconds, if known, what the table says of items, where a model reads texts, and the
    knowledge graph over them, where it reads that.
    """

    table: ClickTable
    encoded: Encoded
    held_out_from: float | None = None
    items: Items | None = None
    graph: KnowledgeGraph | None = None


AuditedClicks = Audited[SplitClicks]


def load_clicks(
    source: ClickSource, protocol: RowProtocol, cache: Path, given: pl.DataFrame | None = None
) -> AuditedClicks:
    """Prepare, split, encode and audit, reusing what the cache holds; ``given``: means, deviations
    and buckets of numbers of an earlier run, which are kept. Raises UserError where the data or the
    protocol cannot be used, and LeakError where the audit fails.
    """
    protocol.check(source.fields)
    table = prepare_clicks(source, cache)
    kept_of = [] if given is None else [given.to_dicts()]
    key = sha256_json([source.fields.settings(), protocol.hash(), *kept_of])[:12]
    folder = table.folder.with_name(f"{table.folder.name}-{key}-{ENCODED_FORMAT}")

    def make(temporary: Path) -> None:
        encode(table, source.fields, protocol.assign(table, source.fields), temporary, given)

    encoded = Encoded.load(kept(folder, make), source.fields)
    for note in encoded.notes:
        log.warning(note)
    disjoint = protocol.disjoint_column(source.fields)
    counted, found = kept_audit(
        folder, lambda: audit_clicks(table, source.fields, encoded, disjoint)
    )
    findings = [Finding(*each) for each in found]
    facts = counted | judged(findings, protocol.audit, protocol.accept)
    if dropped := table.info["dropped"]:
        (_, faulty), *columns = dropped.items()
        facts = {"faulty rows left out": faulty} | facts
        counts = listed(f"{name}: {count:,}" for name, count in columns)
        log.warning("%s: %s faulty rows were left out (%s)", table.info["name"], faulty, counts)
    for sentence in facts["told"]:
        log.warning(sentence)
    return Audited(
        name=table.info["name"],
        data_hash=table.info["data_hash"],
        data=SplitClicks(table, encoded, _held_out_from(table, source.fields, encoded)),
        counts=encoded.counts,
        facts=facts,
        validates=len(encoded.val) > 0,
    )


def with_items(
    loaded: AuditedClicks, source: ClickSource, template: str | None, reader: Any
) -> AuditedClicks:
    """Audited clicks with the items that they show, what the columns of ``template`` say of these,
    and the knowledge graph over them if ``reader``, an item node or None, reads it. Raises
    UserError as :func:`items_of` and :func:`graph_of` do.
    """
    table, encoded = loaded.data.table, loaded.data.encoded
    items = items_of(table, source.fields, encoded, template)
    reads = getattr(reader, "reads_graph", False)
    known = graph_of(source, table, source.fields, encoded, items) if reads else None
    shown = replace(encoded, shown=items.shown)
    data = loaded.data._replace(items=items, encoded=shown, graph=known)
    return replace(loaded, data=data, facts=loaded.facts | (known.facts if known else {}))


def _held_out_from(table: ClickTable, fields: Fields, encoded: Encoded) -> float | None:
    seconds = seconds_of(table, fields)
    if seconds is None:  # without times, or in neither seconds nor milliseconds
        return None
    for note in implausible(seconds):
        log.warning(note)
    return float(seconds[np.concatenate([encoded.val, encoded.test])].min())
