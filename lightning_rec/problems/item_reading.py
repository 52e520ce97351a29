"""From audited data to what items are known by."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from lightning_rec.adapters.base import Adapter
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.items.base import ItemNode, Reading, read_items
from lightning_rec.items.semantic import SemanticIds
from lightning_rec.models.base import ReadsCodes, ReadsGraph, ReadsVectors
from lightning_rec.models.events import event_vectors
from lightning_rec.problems.sequence_tables import described_items

log = logging.getLogger(__name__)

EVENT_VECTORS = 64  # width of vectors of events


def reading_of(loaded: AuditedLog, adapter: Adapter) -> Reading:
    """What an item encoder has to know items by."""
    about, split = described_items(loaded), loaded.data.split
    cache = loaded.data.log.folder.parents[1]
    known = loaded.data.graph
    return Reading(about, about["item"], split.num_trained, cache, adapter, split, graph=known)


def check_graph(reader: Any, source: Any) -> None:
    """Raise UserError where what is known of items, or a model, reads a graph that no data has."""
    if getattr(reader, "reads_graph", False) and getattr(source, "graph", None) is None:
        name = getattr(reader, "title", type(reader).__name__)
        raise UserError(
            f"{name} needs the knowledge graph of the data: say data.graph={{triples: FILE, links: "
            "FILE}, of data=ml_100k data.graph=recbole."
        )


def read_graph(model: nn.Module, items: ItemNode | None, graph: KnowledgeGraph | None) -> None:
    """Let a model read the knowledge graph of the data, and tell what is not read or not there."""
    tell_unread(model, items, graph)
    if not isinstance(model, ReadsGraph):
        return
    if graph is None:
        log.warning(
            "%s: the data has no knowledge graph, so that users and items are all it knows: say "
            "data.graph={triples: FILE, links: FILE}.", type(model).__name__,
        )  # fmt: skip
        return
    model.read_graph(graph)


def tell_unread(model: nn.Module, items: ItemNode | None, graph: object) -> None:
    """Tell that the data has a graph, or is said to, which nothing reads."""
    if graph is not None and not reads_graph(model, items):
        name = type(model).__name__
        log.warning("%s does not read a knowledge graph: data.graph is ignored.", name)


def reads_graph(model: nn.Module, items: ItemNode | None) -> bool:
    """Whether a model, or what its items are known by, reads a knowledge graph."""
    return isinstance(model, ReadsGraph) or (items is not None and items.reads_graph)


def with_graph(
    side: str | None, graph: KnowledgeGraph | None, items: ItemNode | None, model: nn.Module
) -> str | None:
    """The hash of what is read of events and users, and of the graph if that is read as well."""
    if graph is None or not reads_graph(model, items):
        return side
    return graph.hash if side is None else sha256_json([side, graph.hash])


def have_read(items: ItemNode, model: nn.Module, reading: Reading) -> None:
    """Let a model read what it knows items by."""
    if isinstance(items, SemanticIds) and isinstance(model, ReadsCodes):
        if not reading.restoring:
            model.read_codes(*items.codes(reading))
    elif isinstance(model, ReadsVectors) and not reading.restoring:
        schema = Schema(len(reading.catalogue), 1, 1)
        source = items.source(schema, schema.num_items, reading)
        model.read_vectors(source(torch.arange(schema.num_items)), reading.trained)
    read_items(model, reading)


def item_vectors(items: ItemNode | None, adapter: Adapter, loaded: AuditedLog) -> Tensor:
    """Vectors of the items by what they are known by, float [V, E], else by events."""
    if items is None:
        return event_vectors(loaded.data.split, EVENT_VECTORS)
    reading = reading_of(loaded, adapter)
    schema = Schema(len(reading.catalogue), 1, 1)
    source = items.source(schema, schema.num_items, reading)
    with torch.no_grad():
        return source(torch.arange(schema.num_items)).clone()
