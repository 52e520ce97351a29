"""iALS: matrix factorisation of all pairs, seen or not, by alternating least squares.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008, in the
form that Rendle et al., Revisiting the Performance of iALS on Item Recommendation Benchmarks,
RecSys 2022, arXiv:2110.14037, found as good as what is newer. Shapes: M queries, D = dim.
"""

from collections.abc import Iterator

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import sparse
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import past, training_matrix

BLOCK = 2**24  # numbers of gathered vectors, and of small matrices, that are had at once


class IALS(InnerProduct):
    """Vectors of users and items whose products are 1 for what was seen and 0 for all pairs.

    The loss is the sum of (1 - u·v)² over the seen pairs, of ``unobserved`` times (u·v)² over all,
    and of the squared lengths of vectors, each times ``l2`` (n + unobserved m)^``exponent``: n the
    pairs of this user or item, m the number of items or users. Each epoch solves for all users,
    then for all items. A history is asked for by the vector that the solution gives it, whether or
    not training knew its user.

    Args:
        unobserved: weight of all pairs, the paper's α₀.
        std: deviation of what vectors start with, times the root of ``dim``.
    """

    objectives = ("closed_form",)
    needs_order = False
    item: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        l2: PositiveFloat = 0.003,
        unobserved: PositiveFloat = 0.1,
        exponent: NonNegativeFloat = 1.0,
        epochs: PositiveInt = 16,
        std: PositiveFloat = 0.1,
    ) -> None:
        super().__init__(schema)
        self.l2, self.unobserved, self.exponent, self.epochs = l2, unobserved, exponent, epochs
        self.register_buffer("item", torch.randn(schema.num_items, dim) * (std / dim**0.5))

    def fit(self, split: Split) -> None:
        """Solve for users and items in turn."""
        matrix = training_matrix(split)
        seen = np.flatnonzero(matrix.sum(axis=0))  # the others have no loss, and so no vector
        matrix = matrix[np.flatnonzero(matrix.sum(axis=1))][:, seen]
        by_user, by_item = matrix.tocsr(), matrix.T.tocsr()
        items = self.item[torch.from_numpy(seen)].double()
        for _ in range(self.epochs):
            users = self.solved_all(by_user, items)
            items = self.solved_all(by_item, users)
        self.item.zero_()
        self.item[torch.from_numpy(seen)] = items.float()

    def solved_all(self, matrix: sparse.csr_array, other: Tensor) -> Tensor:
        """Vectors of all rows of a matrix by those of its columns: float [columns, D] -> [rows, D].

        Rows of about one length are solved at once.
        """
        length = np.diff(matrix.indptr)
        order = np.argsort(-length, kind="stable")
        gram, solved = other.T @ other, other.new_empty(len(length), other.shape[1])
        for rows in blocks(length[order], other.shape[1]):
            chosen = order[rows]
            place = np.arange(length[chosen].max(initial=1))
            there = place < length[chosen, None]
            at = np.where(there, matrix.indptr[chosen, None] + place, 0)
            items, mask = torch.from_numpy(matrix.indices[at]).long(), torch.from_numpy(there)
            solved[torch.from_numpy(chosen)] = self.solved(items, mask, other, gram, len(other))
        return solved

    def solved(
        self, items: Tensor, mask: Tensor, other: Tensor, gram: Tensor, number: int | Tensor
    ) -> Tensor:
        """The vectors that minimise the loss for some sets: int64 [n, L], bool [n, L] -> [n, D].

        ``other``: float [V, D], what the sets are of; ``gram``: float [D, D], its products;
        ``number``: how many could be in a set.
        """
        own = other[items] * mask[..., None]  # [n, L, D]
        weight = mask.sum(dim=1).to(other.dtype) + self.unobserved * number
        penalty = self.l2 * weight**self.exponent
        eye = torch.eye(other.shape[1], dtype=other.dtype, device=other.device)
        left = own.transpose(1, 2) @ own + self.unobserved * gram + penalty[:, None, None] * eye
        solution: Tensor = torch.cholesky_solve(
            own.sum(dim=1)[..., None], torch.linalg.cholesky(left)
        )
        return solution[..., 0]

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The vector of each history as a set: float [M, D]."""
        items, mask, _ = past(histories, positions, self.schema.num_items)
        items = items.masked_fill(~mask, self.schema.num_items).sort(dim=1).values
        first = F.pad(items[:, 1:] != items[:, :-1], (1, 0), value=True)
        mask = first & (items < self.schema.num_items)
        items = items.masked_fill(~mask, 0)
        trained = self.item.any(dim=1)
        number, gram = trained.sum(), self.item.T @ self.item
        lengths = np.full(len(items), items.shape[1])
        parts = [
            self.solved(items[rows], mask[rows] & trained[items[rows]], self.item, gram, number)
            for rows in blocks(lengths, self.item.shape[1])
        ]
        return torch.cat(parts) if parts else self.item[:0]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors float [n, D], without biases."""
        return ItemVectors(self.item if items is None else self.item[items], None)


def blocks(lengths: np.ndarray, dim: int) -> Iterator[slice]:
    """Rows that are solved at once; ``lengths`` are those of their sets, the longest first."""
    start = 0
    while start < len(lengths):
        step = max(1, BLOCK // (dim * max(int(lengths[start]), dim)))
        yield slice(start, start + step)
        start += step
