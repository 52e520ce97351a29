"""A knowledge graph as steps from an entity to its neighbours, whichever way a triple reads.

E entities, T triples, S steps: two for each pair of entities that a triple joins.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.types import Floats, Ints


@dataclass(frozen=True)
class Steps:
    """Steps in the order of the entities they begin at, then of those they lead to.

    start: int64 [E + 1]; those of entity e are ``start[e]:start[e + 1]``. to: int64 [S], where each
    leads. triple: int64 [S], that which joins the two: of several the heaviest, then the first.
    weight: float64 [S], of the step. through: float64 [E], of passing through an entity.
    """

    start: Ints
    to: Ints
    triple: Ints
    weight: Floats
    through: Floats

    @property
    def degree(self) -> Ints:
        """How many neighbours each entity has, int64 [E]."""
        return np.diff(self.start)

    @cached_property
    def pairs(self) -> Ints:
        """Each step as one number, int64 [S], ascending: see :meth:`between`."""
        return np.repeat(np.arange(len(self.degree)), self.degree) * len(self.degree) + self.to

    def between(self, begin: Ints, end: Ints) -> Ints:
        """The steps that join entities, int64 [n] each: int64 [n], -1 where none does."""
        found = np.searchsorted(self.pairs, wanted := begin * len(self.degree) + end)
        there = np.append(self.pairs, -1)[found] == wanted
        return np.where(there, found, -1)


def steps_of(graph: KnowledgeGraph, attention: Floats | None = None) -> Steps:
    """The steps of a graph, weighed by the attention of its triples, float64 [T].

    Without any each step weighs 1, and to pass through an entity with d neighbours 1 / d: an
    entity that is everybody's neighbour says little. A triple of an entity and itself is no step.
    """
    triple = np.flatnonzero(graph.head != graph.tail)
    head, tail = graph.head[triple], graph.tail[triple]
    own = np.ones(len(triple)) if attention is None else attention[triple]
    begin, end = np.concatenate([head, tail]), np.concatenate([tail, head])
    triple, own = np.tile(triple, 2), np.tile(own, 2)
    order = np.lexsort((triple, -own, end, begin))
    begin, end, triple, own = begin[order], end[order], triple[order], own[order]
    first = np.ones(len(begin), dtype=bool)
    first[1:] = (begin[1:] != begin[:-1]) | (end[1:] != end[:-1])
    number = np.bincount(begin[first], minlength=graph.num_entities)
    start = np.concatenate([[0], np.cumsum(number)])
    through = np.ones(graph.num_entities) if attention is not None else 1 / np.maximum(number, 1)
    return Steps(start, end[first], triple[first], own[first], through)
