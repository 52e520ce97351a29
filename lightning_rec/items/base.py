"""What ``item=`` says: how items are known, and the encoders that it makes for a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
from omegaconf import DictConfig
from pydantic import NonNegativeInt
from torch import nn

from lightning_rec import config
from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.split import Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.base import Fitted, ReadsCatalogue, ReadsVectors, SequenceModel
from lightning_rec.models.items.adaptors import AdaptorName, Experts, LinearMap, MakeAdaptor
from lightning_rec.models.items.base import ComputedItems, ItemEncoder, item_encoders
from lightning_rec.models.items.ids import NEIGHBOURS, Ids, Items, OwnVectors
from lightning_rec.models.items.sums import Sum
from lightning_rec.models.items.vectors import (
    EncodedVectors,
    Projected,
    VectorSource,
)
from lightning_rec.ranges import BelowOne


@dataclass
class Reading:
    """What there is to know items by.

    catalogue: row i describes item i.
    ids: their ids, [V].
    trained: number of items with training events, which are the first ones.
    cache: folder for what is made once.
    adapter: how a language model is tuned.
    split: the training events, of sequences.
    restoring: whether the weights of a finished run are loaded next.
    tuned: a language model under its adapter, once it is read; None if nothing of it is tuned.
    graph: the knowledge graph over the items, if the data has one.
    """

    catalogue: pl.DataFrame
    ids: pl.Series
    trained: int
    cache: Path
    adapter: Adapter
    split: Split | None = None
    restoring: bool = False
    tuned: AdaptedModule | None = None
    graph: KnowledgeGraph | None = None


class ItemNode(ABC):
    """How items are known, which ``title`` says in words.

    ``by_id``: whether each has weights of its own as well; ``reads_new``: whether items can be
    known by it that training did not have; ``template``: names the columns of the
    catalogue that are read, in braces; ``languages``: the nodes that read a language model;
    ``reads_graph``: whether the data has to have a knowledge graph; ``learnt``: whether its vectors
    are what a model learns, so that there are none before training; ``adaptor``: what maps them.
    """

    kind: ClassVar[str] = "items"
    title: str
    by_id: bool = False
    reads_new: bool = False
    template: str | None = None
    languages: Sequence[Any] = ()
    reads_graph: bool = False
    learnt: bool = False
    adaptor: MakeAdaptor = LinearMap

    @property
    def pretrained(self) -> bool:
        """Whether a language model is among what items are known by, for an adapter to tune."""
        return bool(self.languages)

    @abstractmethod
    def encoder(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """An encoder of width ``dim``; without ``reading`` it can be looked at and no more."""

    def source(self, schema: Schema, width: int, reading: Reading) -> VectorSource:
        """Vectors of items that are mapped elsewhere; of ``width`` if that is free."""
        encoder = self.encoder(schema, width, reading)
        read_items(encoder, reading)
        return EncodedVectors(encoder)

    def items(self, reading: Reading | None = None) -> Items:
        """What a model of sequences makes its encoder by."""

        def make(schema: Schema, dim: int) -> ItemEncoder:
            Ids(schema, dim)  # its draws, for all else of a model to start as it does with ids
            return self.encoder(schema, dim, reading)

        return make

    def check(self, model: SequenceModel, adapter: Adapter, loss: Any) -> None:
        """Raise UserError for what cannot work."""
        name = type(model).__name__
        encoder = next(item_encoders(model), None)
        if encoder is None and not isinstance(model, ReadsVectors):
            raise UserError(
                f"item=: {name} has no table of items to be made of {self.title}. Models of "
                "sequences have one, such as model=sasrec."
            )
        if isinstance(model, ReadsVectors) and self.learnt:
            raise UserError(
                f"item=: {name} needs vectors of items before anything is learnt, and {self.title} "
                "have none: say item=text, images, vectors or graph, alone."
            )
        if isinstance(model, ReadsVectors) and self.adaptor is not LinearMap:
            raise UserError(f"item.adaptor: {name} maps what describes items itself: say linear.")
        if model.second_table and encoder is not None and not encoder.by_id:
            raise UserError(
                f"item=: {name} scores items by a second table of vectors of their own: say "
                "model.tied=true where it has that, or item=text_and_ids or vectors_and_ids."
            )
        for language in self.languages:
            language.check_language(model, adapter, loss)


class Described(ItemNode):
    """Items known by what describes them, and perhaps by their ids as well."""

    choice: ClassVar[str]  # as in ``item=``
    ids: bool
    id_dropout: float
    neighbours: int

    @abstractmethod
    def described(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """The encoder without ids; see :meth:`encoder`."""

    def encoder(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """What describes the items, and perhaps a vector of each item's own."""
        described = self.described(schema, dim, reading)
        if not self.ids:
            return described
        trained = None if reading is None else reading.trained
        own = OwnVectors(schema, dim, self.id_dropout, trained, self.neighbours)
        return Sum(schema, dim, {self.choice: described, "ids": own})

    def _set_ids(self, ids: bool, id_dropout: float, neighbours: int) -> None:
        """Raise UserError where there is nothing to drop."""
        self.ids = self.by_id = ids
        self.id_dropout, self.neighbours = id_dropout, neighbours
        if id_dropout and not ids:
            raise UserError(
                f"item.id_dropout={id_dropout}: items have no vectors of their own to drop: "
                f"say item={self.choice}_and_ids, or item.id_dropout=0."
            )


class OfVectors(Described):
    """Items known by vectors that describe them, and perhaps by their ids as well."""

    @abstractmethod
    def read(self, reading: Reading) -> VectorSource | None:
        """Read the vectors; None if they come with the weights of a run that is restored."""

    def described(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """A learnt map of the vectors."""

        def read() -> VectorSource | None:
            assert reading is not None
            return self.read(reading)

        return Projected(schema, dim, read, self.adaptor)

    def _set_adaptor(self, adaptor: AdaptorName, experts: int, dropout: float) -> None:
        """What maps the vectors."""
        self.adaptor = LinearMap
        if adaptor == "moe":
            self.adaptor = partial(Experts, number=experts, dropout=dropout)

    def source(self, schema: Schema, width: int, reading: Reading) -> VectorSource:
        """The vectors as they are."""
        source = self.read(reading)
        assert source is not None
        return source


class SumOf(ItemNode):
    """Items are known by several things, each with an encoder of its own.

    Args:
        parts: nodes as ``item=`` has them, by names of one's own.
        gate: weigh the parts item by item by a learnt softmax.
        concat: take a learnt linear map of all parts' vectors. With neither they are added.
    """

    def __init__(
        self, parts: Mapping[str, dict[str, Any]], gate: bool = False, concat: bool = False
    ) -> None:
        self.parts = {name: item_node(f"item.parts.{name}", node) for name, node in parts.items()}
        self.joined = {"gate": gate, "concat": concat}
        every = self.parts.values()
        self.template = " ".join(part.template for part in every if part.template) or None
        self.languages = [language for part in every for language in part.languages]
        self.title = " and ".join(part.title for part in every)
        self.reads_new = all(part.reads_new for part in every)
        self.reads_graph = any(part.reads_graph for part in every)
        self.learnt = True  # each part is mapped before they are added
        if not parts:
            raise UserError(
                "item.parts is empty: name what items are known by, such as item=[ids,features]."
            )
        if gate and concat:
            raise UserError("item.gate and item.concat are two ways to join: choose one of them.")
        if len(self.languages) > 1:
            raise UserError("item.parts has several language models, but adapter= is about one.")

    def encoder(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """The sum of the parts' encoders."""
        parts = {name: part.encoder(schema, dim, reading) for name, part in self.parts.items()}
        return Sum(schema, dim, parts, **self.joined)


class OwnIds(ItemNode):
    """A vector of each item's own, as a part of a sum.

    Args:
        dropout: probability that an item goes without it for a training step.
        neighbours: known items that are most alike by the other parts, of whose own vectors a new
            item has the mean; 0: it has none.
    """

    by_id = learnt = True
    reads_new = True  # which have none of their own, and take the neighbours'
    title = "ids"

    def __init__(self, dropout: BelowOne = 0.0, neighbours: NonNegativeInt = NEIGHBOURS) -> None:
        self.dropout, self.neighbours = dropout, neighbours

    def encoder(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """The table of own vectors."""
        trained = None if reading is None else reading.trained
        return OwnVectors(schema, dim, self.dropout, trained, self.neighbours)


class Custom(ItemNode):
    """Items are known by an encoder whose class the config names.

    ``settings``: ``_target_``, and the arguments of its constructor but for schema and dim; with
    ``columns``, those of the rows of clicks that its ``read_catalogue`` is given.
    """

    def __init__(self, node: str, settings: dict[str, Any]) -> None:
        self.node, self.settings = node, settings
        names = settings.get("columns") or ()
        self.template = "".join(f"{{{name}}}" for name in names) or None
        self.title = str(settings["_target_"]).rpartition(".")[2]

    def encoder(self, schema: Schema, dim: int, reading: Reading | None) -> ComputedItems:
        """The encoder."""
        made = config.build(self.node, self.settings, schema=schema, dim=dim)
        assert isinstance(made, ComputedItems)
        return made


def item_node(node: str, settings: dict[str, Any]) -> ItemNode:
    """How a config node says that items are known. Raises UserError if it cannot be that."""
    config.expect(node, settings, ItemNode, ComputedItems)
    target = config.target(node, settings)
    if isinstance(target, type) and issubclass(target, ComputedItems):
        return Custom(node, settings)
    built = config.build(node, settings)
    assert isinstance(built, ItemNode)
    return built


def known_by(cfg: DictConfig) -> ItemNode | None:
    """How a config says that items are known; None by ids, of which a model makes a table."""
    settings = config.plain(cfg.get("item")) or {}
    return item_node("item", settings) if settings else None


def read_items(module: nn.Module, reading: Reading) -> None:
    """Let the item encoders of a model that is otherwise complete read what they know items by."""
    for encoder in item_encoders(module):
        for part in list(encoder.modules()):
            if isinstance(part, ReadsCatalogue):
                part.read_catalogue(reading.catalogue)
            if reading.split is not None and isinstance(part, Fitted):
                part.fit(reading.split)
        encoder.read()
