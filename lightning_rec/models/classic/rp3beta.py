"""RP3beta: three random steps over the graph of users and items, popular items held back.

Paudel et al., Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive
Applications, TiiS 2017; with ``beta=0`` it is P3alpha (Cooper et al., WWW 2014). As in the code of
Ferrari Dacrema et al. (RecSys 2019, arXiv:1907.06902). V = num_items.
"""

from collections.abc import Iterator

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse

from lightning_rec.data.split import Schema, Split
from lightning_rec.models.classic.parts import (
    BLOCK_BYTES,
    WeighedItems,
    nearest,
    training_matrix,
)


class RP3Beta(WeighedItems):
    """The score of an item is how probable it is to get there from the user's items.

    From an item one steps to any of its users, and from there to any of the user's items; each
    probability is raised to ``alpha``, and what arrives at an item is divided by its number of
    users raised to ``beta``. Nothing is learnt.

    Args:
        neighbours: how many items an item leads to, and then how many lead to an item.
        normalise: divide what leads from an item by its sum.
    """

    def __init__(
        self,
        schema: Schema,
        alpha: NonNegativeFloat = 1.0,
        beta: NonNegativeFloat = 0.6,
        neighbours: PositiveInt = 100,
        normalise: bool = False,
    ) -> None:
        super().__init__(schema)
        self.alpha, self.beta, self.neighbours = alpha, beta, neighbours
        self.normalise = normalise

    def fit(self, split: Split) -> None:
        """Walk from some items at a time."""
        matrix = training_matrix(split)
        degree = np.asarray(matrix.sum(axis=0))
        to_item = by_rows(matrix).power(self.alpha)
        to_user = by_rows(matrix.T.tocsr()).power(self.alpha)
        scale = (np.maximum(degree, 1) ** -self.beta).astype(np.float32)  # [V]
        walks = []
        for rows in blocks(self.schema.num_items):
            reached = (to_user[rows] @ to_item).toarray() * scale
            item = np.arange(rows.start, rows.start + len(reached))
            reached[np.arange(len(item)), item] = 0  # no item leads to itself
            walks.append(nearest(reached, self.neighbours))
        walk = sparse.vstack(walks, format="csr")
        arriving = (by_rows(walk) if self.normalise else walk).T.tocsr()
        kept = [
            nearest(arriving[rows].toarray(), self.neighbours)
            for rows in blocks(self.schema.num_items)
        ]
        self.near.keep(sparse.vstack(kept, format="csr"))


def by_rows(matrix: sparse.csr_array) -> sparse.csr_array:
    """Divide each row, of numbers above 0, by its sum."""
    total = np.asarray(matrix.sum(axis=1))
    scaled = sparse.diags_array(1 / np.where(total > 0, total, 1)) @ matrix
    return scaled.tocsr().astype(np.float32)


def blocks(items: int) -> Iterator[slice]:
    """So many rows of V numbers that they can be had at once."""
    step = max(1, BLOCK_BYTES // (4 * items))
    for start in range(0, items, step):
        yield slice(start, start + step)
