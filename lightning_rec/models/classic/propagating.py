"""Models whose vectors of users and items are made of a graph, all at once.

Shapes: U users, V items, N nodes, the first of which are the users and then the items, D width, M
queries, n items.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import users_at
from lightning_rec.models.layers import CachedInEvaluation


class Propagating(CachedInEvaluation, InnerProduct):
    """Vectors that are made anew by each ``forward`` of training, and the items that are scored
    until the next one are read from them; in evaluation they are made once.
    """

    objectives = ("user_item",)
    needs_order = False
    needs_users = True

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self._step: Tensor | None = None  # what this training step's forward made

    @abstractmethod
    def propagate(self) -> Tensor:
        """All vectors, of users and then of items: float [U + V, D]."""

    @abstractmethod
    def events(self) -> Tensor:
        """How many items each user has in the graph: int [U]."""

    def train(self, mode: bool = True) -> "Propagating":
        """Forget what was made in the other mode."""
        self._step = None
        return super().train(mode)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The user's vector, float [M, D], of who is not in the graph the mean of all that are;
        histories play no part.
        """
        user = users_at(histories, positions)
        if self.training:
            self._step = self.propagate()
            return F.embedding(user, self._step)
        made = self.made()
        queries = made[user]
        there = self.events() > 0
        unknown = ~there[user]
        if unknown.any():
            queries[unknown] = made[: self.schema.num_users][there].mean(dim=0)
        return queries

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors float [n, D], without biases."""
        made = self.made()[self.schema.num_users :]
        return ItemVectors(made if items is None else F.embedding(items, made), None)

    def made(self) -> Tensor:
        """All vectors, float [U + V, D]: of this training step, or those kept in evaluation."""
        if self.training:
            return self.propagate() if self._step is None else self._step
        return self.cached(self.propagate)


def propagated(table: Tensor, graph: Tensor, depth: int) -> Tensor:
    """The mean of ``depth`` products with a symmetric sparse matrix, [N, N], and of the table
    itself, float [N, D]: float [N, D] (equations 3 and 4).
    """
    made: Tensor = _Propagation.apply(table, graph, depth)  # type: ignore[no-untyped-call]
    return made


class _Propagation(torch.autograd.Function):
    """(E + AE + … + A^K E) / (K + 1): a symmetric map, so its gradient is the same map.

    torch's own gradient of a sparse product goes through the transpose of A, which is slower.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, graph: Tensor, depth: int) -> Tensor:
        ctx.graph, ctx.depth = graph, depth
        return _mean_of_layers(table, graph, depth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _mean_of_layers(grad, ctx.graph, ctx.depth), None, None


def _mean_of_layers(table: Tensor, graph: Tensor, depth: int) -> Tensor:
    with torch.autocast(table.device.type, enabled=False):  # sparse products know 32 bits alone
        layer = table.float()
        total = layer.clone()
        for _ in range(depth):
            layer = graph @ layer
            total += layer
        return total / (depth + 1)
