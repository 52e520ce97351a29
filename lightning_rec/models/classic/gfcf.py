"""GF-CF: a graph filter that is not trained.

Shen et al., How Powerful is Graph Convolution for Recommendation?, CIKM 2021, arXiv:2108.07567, as
in yshenaw/GF_CF. Shapes: M queries, V = num_items, U = num_users, K = rank.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.classic.parts import Sparse, bag, pick, training_matrix


class GFCF(SequenceModel):
    """A linear filter of the history, and beside it an ideal low-pass of few frequencies.

    With R the training matrix, each entry divided by the roots of its row's and column's sums, a
    history r is scored by r RᵀR, to which ``weight`` times r D^-1/2 V Vᵀ D^1/2 is added: V the
    first ``rank`` right singular vectors of R, D the items' numbers of users.
    """

    objectives = ("closed_form",)
    needs_order = False
    left: Tensor
    right: Tensor

    def __init__(
        self, schema: Schema, rank: PositiveInt = 256, weight: NonNegativeFloat = 0.3
    ) -> None:
        super().__init__(schema)
        self.rank = min(rank, schema.num_items, schema.num_users)
        self.weight = weight
        self.graph = Sparse(schema.num_users, schema.num_items)
        for name in ("left", "right"):  # D^-1/2 V and D^1/2 V
            self.register_buffer(name, torch.zeros(schema.num_items, self.rank))

    def fit(self, split: Split) -> None:
        """Scale the matrix, and take it apart."""
        matrix = training_matrix(split)
        users, items = (np.sqrt(np.maximum(matrix.sum(axis=axis), 1)) for axis in (1, 0))
        scaled = sparse.diags_array(1 / users) @ matrix @ sparse.diags_array(1 / items)
        self.graph.keep(scaled.tocsr())
        vectors = singular_vectors(scaled.tocsc().astype(np.float64), self.rank)
        self.left.copy_(torch.from_numpy(vectors / items[:, None]))
        self.right.copy_(torch.from_numpy(vectors * items[:, None]))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The history as a set: float [M, V] of 0 and 1."""
        return bag(histories, positions, self.schema.num_items)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """What the filters leave of the history; see :meth:`SequenceModel.scores`."""
        if items is not None:
            return pick(self.scores(queries), items)
        graph = self.graph.scipy()
        linear = (sparse.csr_array(queries.cpu().numpy()) @ graph.T @ graph).toarray()
        ideal: Tensor = queries @ self.left @ self.right.T
        return torch.from_numpy(linear).to(queries.device) + self.weight * ideal


def singular_vectors(matrix: sparse.csc_array, number: int) -> NDArray[np.float64]:
    """The first right singular vectors of a matrix [U, V]: float64 [V, number]."""
    if number >= min(matrix.shape):  # which the iteration cannot find
        vectors: NDArray[np.float64] = np.linalg.svd(matrix.toarray(), full_matrices=False)[2].T
        return vectors
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    found: NDArray[np.float64] = svds(matrix, k=number, v0=start)[2].T
    return found
