"""From audited data to what items are known by."""

import torch
from torch import Tensor, nn

from lightning_rec.adapters.base import Adapter
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.items.base import ItemNode, Reading, read_items
from lightning_rec.items.semantic import SemanticIds
from lightning_rec.models.base import ReadsCodes, ReadsVectors
from lightning_rec.models.events import event_vectors
from lightning_rec.problems.sequence_tables import described_items

EVENT_VECTORS = 64  # width of vectors of events


def reading_of(loaded: AuditedLog, adapter: Adapter) -> Reading:
    """What an item encoder has to know items by."""
    about, split = described_items(loaded), loaded.data.split
    cache = loaded.data.log.folder.parents[1]
    return Reading(about, about["item"], split.num_trained, cache, adapter, split)


def have_read(items: ItemNode, model: nn.Module, reading: Reading) -> None:
    """Let a model read what it knows items by."""
    if isinstance(items, SemanticIds) and isinstance(model, ReadsCodes):
        if not reading.restoring:
            model.read_codes(*items.codes(reading))
    elif isinstance(model, ReadsVectors) and not reading.restoring:
        schema = Schema(len(reading.catalogue), 1, 1)
        source = items.source(schema, schema.num_items, reading)
        model.read_vectors(source(torch.arange(schema.num_items)))
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
