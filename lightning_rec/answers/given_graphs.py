"""The knowledge graph that a question brings along, over the items of a run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pydantic import TypeAdapter, ValidationError

from lightning_rec.data.graphs.files import GraphFiles
from lightning_rec.data.graphs.graph import KnowledgeGraph, coded
from lightning_rec.data.sources.movielens import WithGraph
from lightning_rec.errors import UserError

Graph = str | Path | Mapping[str, Any] | GraphFiles | KnowledgeGraph
HOW = "graph={triples: FILE, links: FILE}, or graph=recbole of MovieLens-100K"


def graph_over(items: pl.Series, given: Graph) -> KnowledgeGraph:
    """The graph over the items of a run, ids [V].

    Args:
        items: the items.
        given: what ``data.graph`` says: ``recbole``, a mapping with ``triples`` and ``links``, or a
            file of triples alone; or a graph that this has made.

    Links to items that the run does not know are passed over. Raises UserError where it cannot be
    read, or is one of other items.
    """
    if isinstance(given, KnowledgeGraph):
        if given.num_items != len(items):
            raise UserError(f"The graph is one of {given.num_items:,} items, not {len(items):,}.")
        return given
    files = replace(_files(given), unknown="drop")
    return coded(files.read(items), items)


def from_text(said: str) -> Graph:
    """What a command line says of a graph: ``{triples: FILE, links: FILE}``, or a word.

    Raises UserError for what begins like the first and is not.
    """
    if not said.startswith("{"):
        return said
    try:
        found = yaml.safe_load(said)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"graph={said}: say {HOW}.")
    return found


def _files(given: str | Path | Mapping[str, Any] | GraphFiles) -> GraphFiles:
    if isinstance(given, GraphFiles):
        return given
    if isinstance(given, Mapping):
        try:
            return TypeAdapter(GraphFiles).validate_python(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["graph", *map(str, first["loc"])])
            raise UserError(f"{where}: {first['msg']}: say {HOW}.") from None
    if given == "recbole":
        files = WithGraph(graph="recbole").graph_files
        assert files is not None
        return files
    return GraphFiles(triples=str(given))
