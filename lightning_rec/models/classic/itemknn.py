"""ItemKNN: items are recommended by their likeness to those of the history.

Deshpande and Karypis, Item-based top-N recommendation algorithms, TOIS 2004, in the form that
Ferrari Dacrema et al. (RecSys 2019, arXiv:1907.06902) found hard to beat. M queries, V = num_items.
"""

import numpy as np
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse

from lightning_rec.data.split import Schema, Split
from lightning_rec.models.classic.parts import (
    WeighedItems,
    gram_rows,
    nearest,
    training_matrix,
)


class ItemKNN(WeighedItems):
    """The score of an item is the sum of its cosines with those items of the history near it.

    With x_i the users of item i, the likeness of i and j is x_i·x_j / (|x_i| |x_j| + shrink). Of
    each item that is scored (not of each item in the history) the nearest ``neighbours`` count,
    as in the code of Ferrari Dacrema et al.

    Args:
        neighbours: how many other items each item is compared with.
        shrink: how much evidence a likeness needs, against pairs that few users have.
    """

    def __init__(
        self, schema: Schema, neighbours: PositiveInt = 100, shrink: NonNegativeFloat = 10.0
    ) -> None:
        super().__init__(schema)
        self.neighbours, self.shrink = neighbours, shrink

    def fit(self, split: Split) -> None:
        """Find the neighbours of some items at a time."""
        matrix = training_matrix(split)
        length = np.sqrt(np.maximum(matrix.sum(axis=0), 1))  # [V]
        blocks = []
        for rows, together in gram_rows(matrix):
            item = np.arange(rows.start, rows.stop)
            together[np.arange(len(item)), item] = 0  # no item is its own neighbour
            together /= length[item, None] * length + self.shrink
            blocks.append(nearest(together, self.neighbours))
        self.near.keep(sparse.vstack(blocks, format="csr"))
