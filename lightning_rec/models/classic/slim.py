"""SLIM: Sparse Linear Methods for Top-N Recommender Systems.

Ning and Karypis, ICDM 2011. Shapes: V = num_items.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from scipy import sparse

from lightning_rec.data.split import Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.parts import WeighedItems, gram_rows, training_matrix


class SLIM(WeighedItems):
    """Few weights, none below 0, by which other items explain each item best.

    With X the users' sets, each column w of W minimises |x - X w|² / 2 + l2 |w|² / 2 + l1 |w|,
    where w is not negative and the item may not explain itself. A history's scores are its row of X
    times W.

    Args:
        l1: the paper's λ; the higher, the fewer weights.
        l2: the paper's β.
        tolerance: fitting ends when no weight moves by more in a sweep over all items.
        sweeps: after which it ends at the latest.
        max_items: refuse catalogues above this; what is fitted grows with their square.

    Raises UserError if there are more items than ``max_items``.
    """

    def __init__(
        self,
        schema: Schema,
        l1: NonNegativeFloat = 1.0,
        l2: PositiveFloat = 100.0,
        tolerance: PositiveFloat = 0.01,
        sweeps: PositiveInt = 100,
        max_items: PositiveInt = 20_000,
    ) -> None:
        super().__init__(schema)
        items = schema.num_items
        if items > max_items:
            raise UserError(
                f"SLIM is fitted by matrices of {items:,} x {items:,} items: "
                f"{16e-9 * items**2:,.1f} GB of memory. Use model=itemknn, or say "
                f"model.max_items={items}."
            )
        self.l1, self.l2, self.tolerance, self.sweeps = l1, l2, tolerance, sweeps

    def fit(self, split: Split) -> None:
        """Solve for the weights of all items at once."""
        gram = np.empty((self.schema.num_items, self.schema.num_items), dtype=np.float32)
        for rows, values in gram_rows(training_matrix(split)):
            gram[rows] = values
        weights = weights_of(gram, self.l1, self.l2, self.tolerance, self.sweeps)
        self.near.keep(sparse.csr_array(weights))


def weights_of(
    gram: NDArray[np.float32], l1: float, l2: float, tolerance: float, sweeps: int
) -> NDArray[np.float32]:
    """Wᵀ, float32 [V, V], by coordinate descent: ``gram`` is XᵀX, float32 [V, V].

    A step finds the best weights of one item in the columns of all items, the others being as they
    are. What is left to explain is kept up to date in the columns whose weight moved.
    """
    items = len(gram)
    weights = np.zeros((items, items), dtype=np.float32)  # a row for each item that is explained
    left = gram.astype(np.float64)  # (XᵀX - XᵀX W)ᵀ
    for _ in range(sweeps):
        moved = 0.0
        for item in np.flatnonzero(np.diagonal(gram) > 0):
            before, own = weights[:, item], gram[item, item]
            best = np.maximum(left[:, item] + own * before - l1, 0) / (own + l2)
            best[item] = 0
            step = best - before
            changed = np.flatnonzero(step)
            if not len(changed):
                continue
            left[changed] -= step[changed, None] * gram[item]
            weights[changed, item] = best[changed]
            moved = max(moved, float(np.abs(step).max()))
        if moved <= tolerance:
            break
    return weights
