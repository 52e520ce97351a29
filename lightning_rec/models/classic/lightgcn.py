"""LightGCN: matrix factorisation whose vectors are averaged over the graph of users and items.

He et al., LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation, SIGIR
2020, arXiv:2002.02126. Shapes: U = num_users, V = num_items, N = U + V nodes, D = dim, M queries.
"""

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import ItemVectors
from lightning_rec.models.classic.parts import Penalty, Sparse, training_matrix, users_at
from lightning_rec.models.classic.propagating import Propagating, propagated
from lightning_rec.ranges import Layers


class LightGCN(Propagating):
    """Vectors of users and items, the only parameters, summed over neighbours ``depth`` times.

    The result is the mean over the layers, the 0-th included (equation 4 with α_k = 1/(K + 1)).
    A user without training events is asked for as the mean of all users.

    Args:
        depth: the paper's K.
        l2: the paper's λ, on the squares of the 0-th layer's vectors of a batch (equation 15, as
            in the authors' code).
    """

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

    def fit(self, split: Split) -> None:
        """Make the graph: D^-1/2 A D^-1/2 (equation 8), A the training matrix both ways."""
        matrix = training_matrix(split)
        graph = sparse.block_array([[None, matrix], [matrix.T, None]], format="csr")
        scale = sparse.diags_array(1 / np.sqrt(np.maximum(graph.sum(axis=1), 1)))
        self.graph.keep((scale @ graph @ scale).tocsr())
        self._cache = None

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """See :meth:`Propagating.forward`; a training step begins with what its users cost."""
        queries = super().forward(histories, positions)
        if self.training:
            self.l2.begin(self._penalised(users_at(histories, positions)))
        return queries

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors float [n, D], without biases; those that training asks for cost."""
        if self.training and items is not None:
            self.l2.add(self._penalised(self.schema.num_users + items))
        return super().vectors(items)

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """What the vectors of this step cost, scalar; see :class:`Penalised`."""
        return self.l2.take()

    def events(self) -> Tensor:
        """See :meth:`Propagating.events`."""
        return self.graph.indptr.diff()[: self.schema.num_users]

    def propagate(self) -> Tensor:
        """See :meth:`Propagating.propagate`."""
        return propagated(self.node.weight, self.graph.torch(), self.depth)

    def _penalised(self, nodes: Tensor) -> Tensor:
        """The vectors of nodes, int64 [n], that λ is about: float [n, D]."""
        return self.node(nodes)
