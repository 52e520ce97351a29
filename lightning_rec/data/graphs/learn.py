"""Vectors of entities, learnt of the triples once and kept in the cache."""

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.negatives import Negatives
from lightning_rec.data.graphs.ranks import figures, filtered_ranks, held_out
from lightning_rec.data.graphs.scores import RotatE, TransE, TripleModel
from lightning_rec.data.kept import kept
from lightning_rec.documents import read_json
from lightning_rec.files import sha256_json, write_json
from lightning_rec.screen import Screen

log = logging.getLogger(__name__)

VERSION = 1  # raise it whenever the same graph and settings would give other vectors
SEEN = 4  # what counts of partial triples begin with, as in the authors' code of RotatE

Embedding = Literal["rotate", "transe"]


class Settings(NamedTuple):
    """How entities are learnt.

    dim: width of their vectors, of RotatE real and imaginary parts together. margin, lr: None takes
    that of the model. norm: of TransE. temperature: of RotatE.
    """

    model: Embedding = "rotate"
    dim: int = 64
    epochs: int = 30
    batch_size: int = 1024
    negatives: int = 16
    margin: float | None = None
    norm: int = 1
    temperature: float = 1.0
    lr: float | None = None
    held_out: float = 0.01
    seed: int = 1


def entity_vectors(graph: KnowledgeGraph, settings: Settings, cache: Path) -> NDArray[np.float32]:
    """Vectors of all entities, float32 [E, D], memory-mapped; learnt if they are not kept."""
    fingerprint = sha256_json([VERSION, graph.hash, settings._asdict()])
    folder = cache / "graphs" / fingerprint[:24]

    def make(temporary: Path) -> None:
        vectors, found = learn(graph, settings)
        np.save(temporary / "entities.npy", vectors.numpy(), allow_pickle=False)
        write_json(temporary / "figures.json", found)

    kept(folder, make)
    found = read_json(folder / "figures.json")
    told = ", ".join(f"{name} {value:.4f}" for name, value in found.items() if name != "triples")
    if found:
        log.info(
            "%s of %s triples; of %s that were held out, filtered: %s.", settings.model,
            f"{len(graph.head) - found['triples']:,}", f"{found['triples']:,}", told,
        )  # fmt: skip
    vectors: NDArray[np.float32] = np.load(
        folder / "entities.npy", mmap_mode="r", allow_pickle=False
    )
    return vectors


def learn(graph: KnowledgeGraph, settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """Vectors of entities, float [E, D], and figures of what was held out; none without any."""
    out = held_out(graph, settings.held_out, settings.seed)
    triples = torch.from_numpy(graph.triples)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = new_model(graph.num_entities, graph.num_relations, settings)
        train(model, triples[torch.from_numpy(~out)], settings)
    model.requires_grad_(False)
    rows = np.flatnonzero(out)
    found = figures(filtered_ranks(model, graph, rows)) | {"triples": len(rows)}
    return model.entity.detach(), found if len(rows) else {}


def new_model(entities: int, relations: int, settings: Settings) -> TripleModel:
    """The model of the settings, its weights drawn."""
    kind = TransE if settings.model == "transe" else RotatE
    margin = kind.default_margin if settings.margin is None else settings.margin
    shape = (entities, relations, settings.dim, margin)
    if settings.model == "transe":
        return TransE(*shape, settings.norm)
    return RotatE(*shape, settings.temperature)


def train(model: TripleModel, triples: Tensor, settings: Settings) -> None:
    """Learn of triples, int64 [T, 3], by Adam; heads and tails are drawn anew step by step."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr or model.default_lr, fused=True)
    negatives = Negatives(triples, len(model.entity), settings.negatives)
    weight, back = rarity(triples), False
    told = f"Learning {len(triples):,} triples"
    for _ in track(range(settings.epochs), told, **Screen(stderr=True).transient):
        for rows in torch.randperm(len(triples)).split(settings.batch_size):
            batch, back = triples[rows], not back
            model.before_step()
            own = batch[:, 0 if back else 2, None]
            both = torch.cat([own, negatives.draw(batch, back=back)], dim=1)
            distance = model(batch, both, back=back)
            optimizer.zero_grad()
            model.loss(distance[:, 0], distance[:, 1:], weight[rows]).backward()
            optimizer.step()
    model.before_step()


def rarity(triples: Tensor) -> Tensor:
    """What triples weigh, float [T]: the root of one over how often head and relation occur, and
    relation and tail, as in the authors' code of RotatE.
    """
    relations = int(triples[:, 1].max()) + 1
    total = torch.zeros(len(triples))
    for side in (0, 2):
        key = triples[:, side] * relations + triples[:, 1]
        _, place, count = torch.unique(key, return_inverse=True, return_counts=True)
        total += (count + SEEN - 1)[place]
    return total.rsqrt()
