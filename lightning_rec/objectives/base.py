"""Objectives: how histories become training inputs with targets, and query inputs."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import SequenceModel


class TrainingInputs(NamedTuple):
    """Inputs of a training step and their targets.

    histories: the inputs, int64 [B, L] item codes, some of them perhaps the mask.
    positions: bool [B, L], True where an item is to be predicted.
    targets: int64 [M] item codes, in the order of the True ``positions``; of sets int64 [M, n],
        padded.
    weights: float [M], what each target counts for in the loss; None weighs all alike.
    """

    histories: Histories
    positions: Tensor
    targets: Tensor
    weights: Tensor | None = None


class QueryInputs(NamedTuple):
    """Inputs for which the next item is ranked.

    histories: the inputs.
    positions: int64 [B], the one of each row whose query scores the next item.
    """

    histories: Histories
    positions: Tensor


class Objective(ABC):
    """Makes training inputs with targets, or query inputs, of histories."""

    name: ClassVar[str]
    kind: ClassVar[str] = "sequences"

    def window(self, max_len: int) -> int:
        """Items that a training window needs, for a model that reads ``max_len`` at once."""
        return max_len

    @abstractmethod
    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """Make inputs and targets of training windows."""

    def query_inputs(self, histories: Histories, schema: Schema) -> QueryInputs:
        """Ask for the item after each history (none of them empty, none above ``max_len``)."""
        return QueryInputs(histories, latest(histories.items, schema.padding))


Encode = Callable[[Histories, Tensor], Tensor]  # histories and positions -> queries float [M, Q]


@runtime_checkable
class WithTerm(Protocol):
    """An objective that adds a term of its own to the loss."""

    def term(
        self, model: SequenceModel, encode: Encode, inputs: TrainingInputs, queries: Tensor
    ) -> Tensor:
        """The further term, weighted: scalar, for the inputs of a step and their queries, float
        [M, Q].
        """
        ...


def latest(items: Tensor, padding: int) -> Tensor:
    """Position of the latest item of each row: int64 [B]."""
    return (items != padding).sum(dim=1) - 1


def latest_queries(encode: Encode, items: Tensor, user: Tensor, padding: int) -> Tensor:
    """The query at the latest item of each sequence, int64 [B, L]: float [B, Q].

    ``user``: int64 [B].
    """
    positions = latest(items, padding)
    order = positions.argsort(descending=True, stable=True)  # the longest first, as in batches
    queries = encode(Histories(items[order], user[order]), positions[order])
    return queries[order.argsort()]
