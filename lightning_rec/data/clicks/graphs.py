"""The knowledge graph beside rows of clicks, over the items that they show."""

import logging
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.items import Items
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.graphs.audit import Events, audit_graph
from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.graphs.graph import KnowledgeGraph, coded, isolated

log = logging.getLogger(__name__)


def graph_of(
    source: Any, table: ClickTable, fields: Fields, encoded: Encoded, items: Items
) -> KnowledgeGraph | None:
    """The graph that a source names, audited by the groups of its rows, where these are named. None
    where there is none. Raises UserError as :meth:`GraphFiles.read` and :func:`audit_graph` do.
    """
    files: GraphFiles | None = getattr(source, "graph_files", None)
    if files is None:
        return None
    ids = items.about[str(fields.item)].alias("item")
    facts, told = files.read(ids), []
    if fields.group is not None:
        blocks = [columns.text(rows[fields.group]) for _, rows in table.blocks(fields.group)]
        group = pl.concat(blocks).alias("user")
        users = group.unique().sort()
        code = group.to_frame().join(
            users.to_frame().with_row_index("code"), "user", "left", maintain_order="left"
        )["code"]
        held_out = np.concatenate([encoded.val, encoded.test])
        shown = items.shown.astype(np.int64)
        told = audit_graph(facts, Events(users, ids, code.to_numpy(), shown, held_out))
    graph = coded(facts, ids)
    for note in [*facts.notes, *told, *isolated(graph, ids, table.info["name"])]:
        log.warning(note)
    return graph
