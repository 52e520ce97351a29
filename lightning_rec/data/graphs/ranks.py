"""How well triples that were held out are found again: filtered ranks, as the papers have them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.scores import TripleModel
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Ints, Mask

FLOATS = 2**24  # of distances and differences that are held at once


def held_out(graph: KnowledgeGraph, share: float, seed: int) -> Mask:
    """Which triples are not learnt from, so that they can be found: bool [T], about ``share``.

    All triples between two entities go together, since inverse relations say one thing twice; and
    none goes whose entity would be left without another.
    """
    low, high = np.minimum(graph.head, graph.tail), np.maximum(graph.head, graph.tail)
    _, pair = np.unique(low * graph.num_entities + high, return_inverse=True)
    chosen = np.random.default_rng(seed).random(pair.max(initial=0) + 1) < share
    out = chosen[pair]
    while True:
        left = np.zeros(graph.num_entities, dtype=bool)
        left[graph.head[~out]] = left[graph.tail[~out]] = True
        alone = out & ~(left[graph.head] & left[graph.tail])
        if not alone.any():
            return out
        chosen[pair[alone]] = False
        out = chosen[pair]


@torch.no_grad()
def filtered_ranks(model: TripleModel, graph: KnowledgeGraph, rows: Ints) -> Tensor:
    """The rank of the tail, and then of the head, of each of some triples among all entities but
    those with which the triple is known: int64 [2, n]. Ties count against the model.

    ``rows``: int64 [n], places in the graph. (Bordes et al., 2013, section 4.2, "filtered".)
    """
    triples = torch.from_numpy(graph.triples)
    return torch.stack([
        torch.cat([*_ranks(model, triples, torch.from_numpy(rows), back=back)])
        for back in (False, True)
    ])  # fmt: skip


def figures(ranks: Tensor) -> dict[str, float]:
    """MRR and hits at 1, 3 and 10 of ranks."""
    found = ranks.double()
    hits = {f"hits@{k}": float((found <= k).double().mean()) for k in (1, 3, 10)}
    return {"mrr": float((1 / found).mean()), **hits}


def _ranks(model: TripleModel, triples: Tensor, rows: Tensor, *, back: bool) -> Iterator[Tensor]:
    given, wanted = (2, 0) if back else (0, 2)
    key = (triples[:, given] * (triples[:, 1].max() + 1) + triples[:, 1]).numpy()
    order = np.argsort(key, kind="stable")
    yield rows.new_zeros(0)
    for block in rows.split(max(1, FLOATS // model.entity.numel())):
        asked = triples[block]
        at = model.moved(model.entity[asked[:, given]], asked[:, 1], back=back)
        distance = model.apart(at[:, None], model.entity)  # [b, E]
        own = distance.gather(1, asked[:, wanted, None])
        start, stop = (np.searchsorted(key[order], key[block.numpy()], side=side)
                       for side in ("left", "right"))  # fmt: skip
        row, place = ranges(start, stop)
        known = triples[torch.from_numpy(order[place]), wanted]
        distance[torch.from_numpy(row), known] = torch.inf
        yield 1 + (distance <= own).sum(dim=1)
