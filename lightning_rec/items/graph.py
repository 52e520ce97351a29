"""Items known by a knowledge graph: vectors of entities, learnt of its triples before training."""

from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from lightning_rec.data.given_vectors import Missing
from lightning_rec.data.graphs.learn import Embedding, Settings, entity_vectors
from lightning_rec.errors import UserError
from lightning_rec.items.base import OfVectors, Reading
from lightning_rec.items.vectors import known_vectors
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.models.items.vectors import VectorSource
from lightning_rec.ranges import BelowOne


class Graph(OfVectors):
    """Items are known by the vectors of their entities, which ``data.graph`` says.

    They are learnt once, of all triples but some that are held out, and kept in the cache; of a run
    they become a part, and are learnt no further.

    Args:
        model: ``rotate`` (Sun et al., ICLR 2019) or ``transe`` (Bordes et al., NeurIPS 2013); see
            :mod:`lightning_rec.data.graphs.scores`.
        dim: width of the vectors; of RotatE real and imaginary parts together, so it is even.
        epochs, batch_size: of learning, by Adam.
        lr: its rate; None takes 0.02 for RotatE, 0.005 for TransE.
        negatives: of each triple, with another head or another tail by turns.
        margin: γ; None takes 9 for RotatE, 1 for TransE.
        norm: of TransE's distance, 1 or 2.
        temperature: of RotatE's negatives, the paper's α.
        held_out: share of the triples that are held out; what of them is found is told.
        seed: of learning.
        missing: what becomes of items without triples: ``zero`` takes 0, or ``refuse``.
        whiten: make the vectors of the training items uncorrelated and of equal spread.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a training step.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
    """

    choice = "graph"
    reads_graph = True

    def __init__(
        self,
        model: Embedding = "rotate",
        dim: PositiveInt = 64,
        epochs: PositiveInt = 30,
        batch_size: PositiveInt = 1024,
        negatives: PositiveInt = 16,
        margin: PositiveFloat | None = None,
        norm: Literal[1, 2] = 1,
        temperature: NonNegativeFloat = 1.0,
        lr: PositiveFloat | None = None,
        held_out: BelowOne = 0.01,
        seed: int = 1,
        missing: Missing = "zero",
        whiten: bool = True,
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        neighbours: NonNegativeInt = NEIGHBOURS,
    ) -> None:
        if model == "rotate" and dim % 2:
            raise UserError(
                f"item.dim={dim}: RotatE's vectors are real and imaginary parts, so it is even."
            )
        self.settings = Settings(
            model, dim, epochs, batch_size, negatives, margin, norm, temperature, lr, held_out, seed
        )
        self.missing, self.whiten = missing, whiten
        self._set_ids(ids, id_dropout, neighbours)
        self.title = f"a knowledge graph{' and ids' if ids else ''}, learnt by {model}"

    def read(self, reading: Reading) -> VectorSource | None:
        """The vectors of the items' entities, which belong to the weights of a run."""
        if reading.restoring:
            return None
        graph = reading.graph
        if graph is None:
            raise UserError("item=graph: the data has no knowledge graph, data.graph.")
        there = torch.from_numpy(graph.has_facts[: graph.num_items])
        if self.missing == "refuse" and not there.all():
            raise UserError(
                f"item.missing=refuse: the graph says nothing of {int((~there).sum()):,} of "
                f"{graph.num_items:,} items, such as {reading.ids[int((~there).int().argmax())]}."
            )
        every = entity_vectors(graph, self.settings, reading.cache)
        vectors = torch.from_numpy(every[: graph.num_items].copy()) * there[:, None]
        return known_vectors(vectors, there, reading.trained, self.whiten)
