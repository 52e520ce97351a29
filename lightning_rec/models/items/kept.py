"""What items are known by in a bundle: the vectors of each encoder, as they came out."""

from collections.abc import Mapping
from functools import partial

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import ComputedItems
from lightning_rec.models.items.ids import Items, OwnVectors
from lightning_rec.models.items.sums import Sum


class KeptVectors(OwnVectors):
    """The vectors of an encoder that is not of ids; padding and mask have 0."""

    by_id = False


def kept_parts(parts: Mapping[str, bool]) -> Items:
    """Makes the sum of kept vectors, by name whether they are of ids."""
    return partial(_sum, parts=parts)


def _sum(schema: Schema, dim: int, parts: Mapping[str, bool]) -> ComputedItems:
    kinds = {name: OwnVectors if by_id else KeptVectors for name, by_id in parts.items()}
    made = Sum(schema, dim, {name: kind(schema, dim) for name, kind in kinds.items()})
    made.make_layers()
    return made
