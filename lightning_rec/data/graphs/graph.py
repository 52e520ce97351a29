"""A knowledge graph as codes: the first entities are the items of a split, in its order."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from lightning_rec.data.graphs.files import Facts
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import listed
from lightning_rec.files import sha256_json


@dataclass(frozen=True)
class KnowledgeGraph:
    """Triples over E entities and R relations, each once. Entity i < V is item i.

    head, relation, tail: int64 [T] codes.
    entities: ids of the entities, [E], String; of an item without a link its own.
    relations: their names, [R], in alphabetical order. num_items: V.
    """

    head: Ints
    relation: Ints
    tail: Ints
    entities: pl.Series
    relations: pl.Series
    num_items: int

    @property
    def num_entities(self) -> int:
        """E."""
        return len(self.entities)

    @property
    def num_relations(self) -> int:
        """R."""
        return len(self.relations)

    @property
    def triples(self) -> Ints:
        """Head, relation and tail of each: int64 [T, 3]."""
        return np.stack([self.head, self.relation, self.tail], axis=1)

    @cached_property
    def has_facts(self) -> Mask:
        """Which entities a triple mentions, bool [E]."""
        found = np.zeros(self.num_entities, dtype=bool)
        found[self.head] = found[self.tail] = True
        return found

    @cached_property
    def hash(self) -> str:
        """SHA-256 of triples and names."""
        digest = hashlib.sha256()
        for array in (self.head, self.relation, self.tail):
            digest.update(array.astype("<i8").tobytes())
        for names in (self.entities, self.relations):
            digest.update(sha256_json(names.to_list()).encode())
        return digest.hexdigest()

    @property
    def facts(self) -> dict[str, int]:
        """What the card of a run says of it."""
        return {
            "graph triples": len(self.head),
            "graph entities": int(self.has_facts.sum()),
            "graph relations": self.num_relations,
            "items without a fact": int((~self.has_facts[: self.num_items]).sum()),
        }


def coded(facts: Facts, items: pl.Series) -> KnowledgeGraph:
    """The graph over ``items``, ids [V]; other entities follow by name, and so do the triples.

    An entity of an item that is none of these is an entity as others are.
    """
    own = pl.DataFrame({"item": items}).join(facts.links, "item", "left", maintain_order="left")[
        "entity"
    ]
    triples = facts.triples
    linked = own.drop_nulls()
    every = pl.concat([triples["head"], triples["tail"]]).unique().sort()
    rest = every.filter(~every.is_in(linked.implode()))
    relations = triples["relation"].unique().sort()
    codes = pl.concat([
        pl.DataFrame({"entity": own}).with_row_index("code").drop_nulls(),
        pl.DataFrame({"entity": rest}).with_row_index("code", len(items)),
    ])  # fmt: skip
    known = pl.DataFrame({"relation": relations}).with_row_index("code")
    columns = {
        "head": triples.join(codes, left_on="head", right_on="entity", how="left",
                             maintain_order="left")["code"],
        "relation": triples.join(known, on="relation", how="left", maintain_order="left")["code"],
        "tail": triples.join(codes, left_on="tail", right_on="entity", how="left",
                             maintain_order="left")["code"],
    }  # fmt: skip
    # The order of the rows of a file means nothing.
    ordered = pl.DataFrame(columns).cast(pl.Int64).sort("head", "relation", "tail")
    head, relation, tail = (ordered[name].to_numpy() for name in columns)
    names = pl.concat([own.fill_null(items), rest]).alias("entity")
    return KnowledgeGraph(head, relation, tail, names, relations, len(items))


def isolated(graph: KnowledgeGraph, items: pl.Series, name: str) -> list[str]:
    """Say which items no triple mentions."""
    alone = items.filter(~pl.Series(graph.has_facts[: graph.num_items]))
    if not len(alone):
        return []
    return [
        f"{name}: the graph says nothing of {len(alone):,} of {len(items):,} items, such as "
        f"{listed(alone.head(3))}: they have no link, or no triple."
    ]
