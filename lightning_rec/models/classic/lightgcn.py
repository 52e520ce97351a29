"""LightGCN: matrix factorisation whose vectors are averaged over the graph of users and items.

He et al., LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation, SIGIR
2020, arXiv:2002.02126. Shapes: U = num_users, V = num_items, N = U + V nodes, D = dim, M queries.
"""

from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import Penalty, Sparse, training_matrix, users_at
from lightning_rec.models.layers import CachedInEvaluation
from lightning_rec.ranges import Layers


class LightGCN(CachedInEvaluation, InnerProduct):
    """Vectors of users and items, the only parameters, summed over neighbours ``depth`` times.

    The result is the mean over the layers, the 0-th included (equation 4 with α_k = 1/(K + 1)).
    In training it is made anew by each ``forward``, and the items that are scored until the next
    one are read from it; in evaluation it is made once. A user without training events is asked
    for as the mean of all users.

    Args:
        depth: the paper's K.
        l2: the paper's λ, on the squares of the 0-th layer's vectors of a batch (equation 15, as
            in the authors' code).
    """

    objectives = ("user_item",)
    needs_order = False
    needs_users = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 3,
        l2: NonNegativeFloat = 1e-4,
    ) -> None:
        super().__init__(schema)
        nodes = schema.num_users + schema.num_items
        self.depth = depth
        self.node = nn.Embedding(nodes, dim)  # users, then items
        nn.init.normal_(self.node.weight, std=0.1)
        self.graph = Sparse(nodes, nodes)
        self.l2 = Penalty(l2)
        self._step: Tensor | None = None  # what this training step's forward made

    def fit(self, split: Split) -> None:
        """Make the graph: D^-1/2 A D^-1/2 (equation 8), A the training matrix both ways."""
        matrix = training_matrix(split)
        graph = sparse.block_array([[None, matrix], [matrix.T, None]], format="csr")
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(graph.sum(axis=1), 1)))
        self.graph.keep((scale @ graph @ scale).tocsr())
        self._cache = None

    def train(self, mode: bool = True) -> "LightGCN":
        """Forget what was made in the other mode."""
        self._step = None
        return super().train(mode)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The user's vector: float [M, D]; histories play no part."""
        user = users_at(histories, positions)
        if self.training:
            self._step = self._propagated()
            self.l2.begin(self._penalised(user))
            return F.embedding(user, self._step)
        made = self._made()
        queries = made[user]
        edges = self.graph.indptr.diff()[: self.schema.num_users]
        unknown = edges[user] == 0
        if unknown.any():
            queries[unknown] = made[: self.schema.num_users][edges > 0].mean(dim=0)
        return queries

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors float [n, D], without biases."""
        users, made = self.schema.num_users, self._made()
        if items is None:
            return ItemVectors(made[users:], None)
        if self.training:
            self.l2.add(self._penalised(users + items))
        return ItemVectors(F.embedding(users + items, made), None)

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """What the vectors of this step cost, scalar; see :class:`Penalised`."""
        return self.l2.take()

    def _penalised(self, nodes: Tensor) -> Tensor:
        """The vectors of nodes, int64 [n], that λ is about: float [n, D]."""
        return self.node(nodes)

    def _made(self) -> Tensor:
        """All vectors, float [N, D]: of this training step, or those kept in evaluation."""
        if self.training:
            return self._propagated() if self._step is None else self._step
        return self.cached(self._propagated)

    def _propagated(self) -> Tensor:
        return propagated(self.node.weight, self.graph.torch(), self.depth)


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
