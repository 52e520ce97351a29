"""The interface of sequence models, and what a model or an item encoder may read at once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models import kernels
from lightning_rec.models.items.base import item_encoders
from lightning_rec.models.side import Side
from lightning_rec.needs import ABSENT, LOSS, Need


class SequenceModel(nn.Module, ABC):
    """A module that turns histories into queries, and scores items for a query.

    ``objectives`` names the objectives it can be trained by, the published one first;
    ``needs_order`` says whether it reads the order of a history, ``needs_users`` whether it knows
    users only by their training events, ``second_table`` whether it scores items by a table of ids
    beside the item encoder, ``likelihood`` whether its scores are log-likelihoods of items,
    ``reads_times`` whether it reads when events were.
    """

    kind: ClassVar[str] = "sequences"
    objectives: ClassVar[tuple[str, ...]]
    needs_order: bool = True
    needs_users: bool = False
    second_table: bool = False
    likelihood: bool = False
    reads_times: bool = False

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.side: Side | None = None  # what is known of events and users, if the model reads it

    @property
    def needs(self) -> list[Need]:
        """What it needs of objective, loss and protocol; see :mod:`lightning_rec.compat`."""
        learns = f"learns by {' or '.join(self.objectives)}"
        needs = [Need("objective", self.objectives, learns)]
        if self.objectives == ("closed_form",):
            needs.append(Need("loss", ABSENT, "is fitted in closed form and takes no loss"))
        else:
            needs.append(LOSS)
        if self.needs_order:
            needs.append(Need("protocol", "ordered", "learns from the order of a history"))
        if self.needs_users:
            why = "knows only users that training had, none of those that are tested here"
            needs.append(Need("protocol", "known_users", why))
        return needs

    def begin_epoch(self) -> None:
        """Begin an epoch of training, before torch is seeded for it: what a model draws once an
        epoch, the next training ``forward`` draws.
        """

    def begin_step(self, histories: Histories) -> None:
        """Begin a training step: what item encoders compute of its items is computed once."""
        for encoder in item_encoders(self):
            encoder.begin_step(histories.items)

    @abstractmethod
    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Make a query for each position asked about: float [M, Q].

        Args:
            histories: int64 [B, L] item codes and what belongs to them, padded on the right.
            positions: bool [B, L], M of them True, which is the order of queries; or int64 [B], one
                in each row, M = B.
        """

    @abstractmethod
    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Score items for queries, float [M, Q]: float [M, n], or [M, num_items].

        ``items``: int64 [n], the same items for all; int64 [M, n], each query's own; None for the
        whole catalogue.
        """


class ItemVectors(NamedTuple):
    """Vectors of some items, float [n, Q], and their biases, float [n] or None."""

    weight: Tensor
    bias: Tensor | None


class InnerProduct(SequenceModel):
    """A model whose score is the inner product of query and item vector, plus the item's bias."""

    @abstractmethod
    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors of ``items`` (int64 [n]), or of the whole catalogue."""

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Inner products; see :meth:`SequenceModel.scores`."""
        if items is None or items.dim() == 1:
            weight, bias = self.vectors(items)
            return F.linear(queries, weight, bias)
        many = items.shape[1] > 1 and items.numel() >= self.schema.num_items
        if many and torch.is_grad_enabled() and not isinstance(self, Penalised):
            read, own = torch.unique(items, return_inverse=True)  # sparse gradients stay so
            weight, bias = self.vectors(read)
            scores: Tensor = kernels.own_products(queries, weight, own)
            return scores if bias is None else scores + bias[own]
        weight, bias = self.vectors(items.flatten())
        own = weight.view(*items.shape, -1)  # [M, n, Q]
        scores = torch.linalg.vecdot(queries[:, None], own)
        return scores if bias is None else scores + bias.view(items.shape)


@runtime_checkable
class Fitted(Protocol):
    """A model, or an objective, that reads the training events at once, before or instead of
    gradient steps.
    """

    def fit(self, split: Split) -> None:
        """Fit on the training events of ``split``, and on them alone."""


@runtime_checkable
class ReadsCatalogue(Protocol):
    """A model that knows items by what the catalogue says of them."""

    def read_catalogue(self, catalogue: pl.DataFrame) -> None:
        """Read the catalogue: row i describes item i. Raises UserError where it says too little."""


@runtime_checkable
class ReadsVectors(Protocol):
    """A model that knows items by vectors that describe them, and trains none of its own."""

    def read_vectors(self, vectors: Tensor, trained: int | None = None) -> None:
        """Take the vectors of all items, float [V, E], the first ``trained`` of which have training
        events; None: all.
        """


@runtime_checkable
class ReadsCodes(Protocol):
    """A model that says items by semantic ids."""

    def read_codes(self, codes: Tensor, sizes: tuple[int, ...]) -> None:
        """Take the codes of all items, int64 [V, m], those of all levels numbered on, and how many
        a level has. Raises UserError if they do not fit the model.
        """


@runtime_checkable
class ReadsGraph(Protocol):
    """A model that reads the knowledge graph of the data, if there is one."""

    def read_graph(self, graph: KnowledgeGraph) -> None:
        """Take the graph, before the training events are read."""


@runtime_checkable
class WeighsTriples(Protocol):
    """A model that has learnt how much each triple of its graph counts."""

    def weigh_triples(self, triples: Tensor) -> Tensor:
        """How much each of all triples, int64 [T, 3], counts among the neighbours of its head, to
        which also users belong: float [T]. Raises UserError where they join other entities than
        those of training.
        """


@runtime_checkable
class TwoPhases(Protocol):
    """A model each epoch of which ends with steps on something else than the events."""

    def second_phase(self) -> Iterator[Tensor]:
        """Losses, scalars: after each the optimizer takes a step before the next is asked for."""


@runtime_checkable
class Penalised(Protocol):
    """A model whose paper adds a term of its own to the loss."""

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """The term of a step, scalar, asked once after ``forward``: of what was read since the
        latest training ``forward`` began, or of its queries, float [M, Q], and targets, int64 [M].
        """


@runtime_checkable
class Warmed(Protocol):
    """A model that begins its training gently, and has to know where that is behind it."""

    def go_on(self) -> None:
        """Its weights are those of a finished training."""


@runtime_checkable
class ScoresAmong(Protocol):
    """A model whose score of an item depends on which others are candidates."""

    def among(self, queries: Tensor, row: Tensor, item: Tensor) -> Tensor:
        """Queries, float [M, Q], with what scores need to know of the candidates, float [M, Q'].

        ``row``, ``item``: int64 [S], pairs of a query and an item that is no candidate.
        """


@runtime_checkable
class Retrieves(Protocol):
    """A model that scores the candidates that it finds itself, and nothing else."""

    def retrieve(
        self, queries: Tensor, row: Tensor, item: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """Queries, float [M, Q], with their candidates: float [M, Q'], to be asked once or often.

        ``row``, ``item``: as of :class:`ScoresAmong`. ``allowed``: bool [V], items that may be
        candidates of any query; None: all.
        """
