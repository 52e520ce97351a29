"""Why an item may be for a user: paths in a knowledge graph from what he had to that item."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from lightning_rec.answers.given_graphs import Graph, graph_over
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.paths import HOPS, Pairs, Paths, best_paths, places
from lightning_rec.data.graphs.steps import steps_of
from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Floats, Ints
from lightning_rec.errors import UserError, suggest
from lightning_rec.models.base import WeighsTriples
from lightning_rec.predict.asking import Asked, Frame, Histories, check_k, frame, series
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.unknown import unknown_items

BY = ("attention", "rarity")


def explain(
    model: SequencePredictor,
    graph: Graph,
    histories: Histories | None = None,
    *,
    users: Sequence[Any] | pl.Series | None = None,
    items: Sequence[Any] | None = None,
    k: int = 10,
    paths: int = 3,
    hops: int = 2,
    by: str | None = None,
    seen: str | None = None,
    names: Frame | None = None,
) -> pl.DataFrame:
    """The heaviest paths in a knowledge graph from a history to recommended items.

    A path goes from an item of the history along triples, whichever way they read, through
    entities, but no users, and meets none twice. Its weight by ``attention`` is the product of how
    much its triples count, which KGAT has learnt; by ``rarity`` that of 1 / d over the entities
    that it passes through, which have d neighbours (so that the weights of all paths of two steps
    between two items sum to their resource allocation index: Zhou, Lü and Zhang 2009).

    Args:
        model: the run.
        graph: see :func:`lightning_rec.answers.given_graphs.graph_over`.
        histories: as of :meth:`SequencePredictor.recommend`.
        users: likewise.
        items: ids to explain; None: those that are recommended.
        k: how many these are.
        paths: how many of an item at most.
        hops: steps of a path, at most 3.
        by: ``attention`` or ``rarity``; None: the first of a model that has learnt it.
        seen: whether items of the history are recommended, as of the same.
        names: a frame of ``entity`` and ``name``, for what ``why`` says.

    Returns:
        ``user`` or ``row``; ``rank`` of the item; ``item`` and ``title``; ``path`` from 1;
        ``weight``; ``had``, the item of the history; ``through``, the ids of the entities passed,
        and ``relations``, lists; ``why``, the path in words: an arrow is that of its triple. An
        item without a path has one row, whose ``path`` and what comes after it are null.

    Raises:
        UserError: for an unknown user or item, a bad ``k``, ``paths`` or ``hops``, or where the
            graph is not that of the run.
    """
    if hops not in range(1, HOPS + 1):
        raise UserError(f"hops={hops}: a path has from 1 to {HOPS} steps.")
    if paths < 1:
        raise UserError(f"paths={paths}: say 1 or more.")
    if seen not in (None, "filter", "keep"):
        raise UserError(f"seen={seen}: it is filter or keep.")
    known = graph_over(model.items["item"], graph)
    weights = _weights(model, known, by)
    asked = model.asked(histories, users)
    wanted = _recommended(model, asked, k, seen) if items is None else _said(model, asked, items)
    owner = np.repeat(np.arange(len(asked.key)), np.diff(asked.offsets))
    had = np.unique(np.stack([owner, asked.items.astype(np.int64)], axis=1), axis=0)
    found = best_paths(steps_of(known, weights), Pairs(*had.T), wanted, hops, paths)
    return _shown(model, asked, wanted, found, known, names)


def _weights(model: SequencePredictor, graph: KnowledgeGraph, by: str | None) -> Floats | None:
    """How much triples count, if it is asked for and the model has learnt it: float64 [T]."""
    if by not in (None, *BY):
        raise UserError(f"by={by}: it is unknown.{suggest(by, BY)}")
    if by == "attention" and not isinstance(model.model, WeighsTriples):
        raise UserError(f"{model.name} has learnt no attention of triples: say by=rarity.")
    if by == "rarity" or not isinstance(model.model, WeighsTriples):
        return None
    return model.model.weigh_triples(torch.from_numpy(graph.triples)).double().numpy()


def _recommended(model: SequencePredictor, asked: Asked, k: int, seen: str | None) -> Pairs:
    check_k(k, len(model.items), "say 1 to {:,}, as many items as this run knows")
    lists = model.lists(asked, k, seen)
    columns = zip(*(each[:3] for each in lists), strict=True)
    row, rank, item = (np.concatenate(column) for column in columns)
    order = np.lexsort((rank, row))
    return Pairs(row[order], item[order])


def _said(model: SequencePredictor, asked: Asked, items: Sequence[Any]) -> Pairs:
    given = series("item", items)
    code = model.catalogue.codes(given)
    if code.has_nulls():
        raise UserError(unknown_items(given.filter(code.is_null()), model.items["item"]))
    users = len(asked.key)
    return Pairs(
        np.repeat(np.arange(users), len(code)), np.tile(code.to_numpy().astype(np.int64), users)
    )


def _shown(
    model: SequencePredictor,
    asked: Asked,
    wanted: Pairs,
    found: Paths,
    graph: KnowledgeGraph,
    names: Frame | None,
) -> pl.DataFrame:
    item = wanted.entity[found.target]
    # What it meets, [P, 4]: -1 behind its end.
    nodes = np.stack([found.begin, found.first, found.second, np.full_like(item, -1)], axis=1)
    nodes[np.arange(len(item)), found.hops] = item
    between = np.stack([found.first, found.second], axis=1)
    relation = np.append(graph.relation, -1)[found.triple]  # -1 for no triple
    columns = {
        "target": pl.Series(found.target.astype(np.int64)),
        "path": pl.Series(places(found.target) + 1, dtype=pl.UInt32),
        "weight": pl.Series(found.weight),
        "had": model.items["item"].gather(found.begin),
        "through": _lists(graph.entities, between),
        "relations": _lists(graph.relations, relation),
        "why": _words(_called(model.items, graph, names), graph, nodes, found.triple),
    }
    rank = pl.Series("rank", places(wanted.user) + 1, dtype=pl.UInt32)
    shown = model.catalogue.shown(wanted.entity.tolist())
    key = asked.key.gather(wanted.user).to_frame().with_columns(rank)
    every = pl.concat([key, shown], how="horizontal")
    target = pl.Series("target", np.arange(len(every)), dtype=pl.Int64)
    told = every.with_columns(target).join(
        pl.DataFrame(columns), "target", "left", maintain_order="left_right"
    )
    return told.drop("target")


def _called(items: pl.DataFrame, graph: KnowledgeGraph, names: Frame | None) -> pl.Series:
    """What entities are called, String [E]: items by their titles, others by name, else by id."""
    called = graph.entities.to_frame("entity")
    title = items["title"] if "title" in items.columns else items["item"]
    own = title.cast(pl.String).fill_null(items["item"])
    own = own.extend_constant(None, graph.num_entities - len(own))
    if names is not None:
        given = frame(names, "entity", "name")
        given = given.select(ids_of(given["entity"]), pl.col("name").cast(pl.String))
        given = given.drop_nulls().unique("entity", keep="first", maintain_order=True)
        called = called.join(given, "entity", "left", maintain_order="left")
        own = own.fill_null(called["name"])
    return own.fill_null(called["entity"])


def _words(called: pl.Series, graph: KnowledgeGraph, nodes: Ints, triples: Ints) -> pl.Series:
    """Paths as ``A -actor-> B <-actor- C``, String [P]."""
    spoken, why = _spoken(graph.relations), called.gather(nodes[:, 0])
    for step, triple in enumerate(triples.T):
        there = triple >= 0
        relation = spoken.gather(graph.relation[triple[there]])
        forth = pl.Series(graph.head[triple[there]] == nodes[there, step])
        after = called.gather(nodes[there, step + 1])
        way = pl.format(
            " {}{}{} ",
            pl.when(forth).then(pl.lit("-")).otherwise(pl.lit("<-")),
            relation,
            pl.when(forth).then(pl.lit("->")).otherwise(pl.lit("-")),
        )
        longer = pl.select(pl.concat_str(why.filter(pl.Series(there)), way, after)).to_series()
        why = why.scatter(np.flatnonzero(there), longer)
    return why


def _spoken(relations: pl.Series) -> pl.Series:
    """Relations in words: the last two parts of ``film.film.directed_by``, or the last of a URL."""
    last = relations.str.strip_chars_end("/#:").str.replace(r"^.*[/#:]", "")
    return last.str.split(".").list.tail(2).list.join(" ").str.replace_all("_", " ", literal=True)


def _lists(names: pl.Series, at: Ints) -> pl.Series:
    """Names at places, [P, m], but for those at -1: List[String] [P]."""
    known = [pl.Series(str(n), own).replace(-1, None) for n, own in enumerate(at.T)]
    columns = [names.gather(own).alias(own.name) for own in known]
    return pl.DataFrame(columns).select(pl.concat_list(pl.all()).list.drop_nulls()).to_series()
