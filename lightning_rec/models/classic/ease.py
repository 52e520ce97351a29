"""EASE: Embarrassingly Shallow Autoencoders for Sparse Data.

Steck, WWW 2019, arXiv:1905.03375. Shapes: M queries, V = num_items.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from scipy.linalg import lapack
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import BLOCK_BYTES, bag, gram_rows, training_matrix


class EASE(InnerProduct):
    """The linear map of histories to themselves that is best where no item may explain itself.

    With X the users' sets and P = (XᵀX + l2 I)⁻¹, the weight of item i for item j is
    B_ij = -P_ij / P_jj, and 0 for i = j (equation 8). A history's scores are its row of X times B.

    Args:
        l2: the paper's λ, on the squares of the weights.
        max_items: refuse catalogues above this; the matrix grows with their square.

    Raises UserError if there are more items than ``max_items``.
    """

    objectives = ("closed_form",)
    needs_order = False
    weight: Tensor

    def __init__(
        self, schema: Schema, l2: PositiveFloat = 300.0, max_items: PositiveInt = 20_000
    ) -> None:
        super().__init__(schema)
        items = schema.num_items
        if items > max_items:
            raise UserError(
                f"EASE inverts a matrix of {items:,} x {items:,} items: {12e-9 * items**2:,.1f} GB "
                f"of memory while it is fitted, {4e-9 * items**2:,.1f} GB in the run folder. Use "
                f"model=itemknn, or say model.max_items={items}."
            )
        self.l2 = l2
        self.register_buffer("weight", torch.zeros(items, items))  # Bᵀ: a row for each item scored

    def fit(self, split: Split) -> None:
        """Solve for the weights."""
        items = self.schema.num_items
        gram = np.empty((items, items))
        for rows, values in gram_rows(training_matrix(split)):
            gram[rows] = values
        gram[np.diag_indices(items)] += self.l2
        weights_of(gram, self.weight.numpy())

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The history as a set: float [M, V] of 0 and 1."""
        return bag(histories, positions, self.schema.num_items)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """What each item of a history adds to the score of ``items``: float [n, V]."""
        return ItemVectors(self.weight if items is None else self.weight[items], None)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Inner products; see :meth:`SequenceModel.scores`."""
        if items is not None and items.dim() == 2:  # their vectors would be M x n x V numbers
            return super().scores(queries).gather(1, items)
        return super().scores(queries, items)


def weights_of(
    gram: NDArray[np.float64], weight: NDArray[np.float32], block_bytes: int = BLOCK_BYTES
) -> None:
    """Equation 8, with one matrix in 64 bits and no other.

    ``gram``: float64 [V, V], XᵀX + l2 I; overwritten. ``weight``: float32 [V, V], where Bᵀ goes.
    ``block_bytes``: memory that steps in between may take.
    """
    factor, failed = lapack.dpotrf(gram.T, lower=True, clean=False, overwrite_a=True)
    assert not failed  # l2 > 0 makes the matrix positive definite
    inverse, failed = lapack.dpotri(factor, lower=True, overwrite_c=True)
    assert not failed
    scale = -1 / np.diagonal(inverse)[:, None]
    items = len(weight)
    step = max(1, block_bytes // (8 * items))
    for start in range(0, items, step):  # LAPACK fills the lower triangle alone
        block = slice(start, min(items, start + step))
        strip = inverse[start:, block]  # [items - start, b]
        corner = np.tril(strip[: strip.shape[1]])
        strip[: strip.shape[1]] = corner + np.tril(corner, -1).T
        weight[start:, block] = strip * scale[start:]
        weight[block, start:] = strip.T * scale[block]
    np.fill_diagonal(weight, 0)
