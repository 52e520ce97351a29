"""ItemKNN: items are recommended by their likeness to those of the history.

Deshpande and Karypis, Item-based top-N recommendation algorithms, TOIS 2004, in the form that
Ferrari Dacrema et al. (RecSys 2019, arXiv:1907.06902) found hard to beat. M queries, V = num_items.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.classic.parts import Sparse, bag, gram_rows, pick, training_matrix


class ItemKNN(SequenceModel):
    """The score of an item is the sum of its cosines with those items of the history near it.

    With x_i the users of item i, the likeness of i and j is x_i·x_j / (|x_i| |x_j| + shrink). Of
    each item that is scored (not of each item in the history) the nearest ``neighbours`` count,
    as in the code of Ferrari Dacrema et al.

    Args:
        neighbours: how many other items each item is compared with.
        shrink: how much evidence a likeness needs, against pairs that few users have.
    """

    objectives = ("closed_form",)
    needs_order = False

    def __init__(
        self, schema: Schema, neighbours: PositiveInt = 100, shrink: NonNegativeFloat = 10.0
    ) -> None:
        super().__init__(schema)
        self.neighbours, self.shrink = neighbours, shrink
        self.near = Sparse(schema.num_items, schema.num_items)

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

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The history as a set: float [M, V] of 0 and 1."""
        return bag(histories, positions, self.schema.num_items)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Sums of likenesses; see :meth:`SequenceModel.scores`."""
        if items is not None and items.dim() == 2:
            return pick(self.scores(queries), items)
        near = self.near.scipy()
        if items is not None:
            near = near[items.cpu().numpy()]
        sums = (sparse.csr_array(queries.cpu().numpy()) @ near.T).toarray()
        return torch.from_numpy(sums).to(queries.device)


def nearest(likeness: NDArray[np.float32], neighbours: int) -> sparse.csr_array:
    """Keep the highest values of each row that are above zero: float [n, V] -> sparse [n, V]."""
    rows, columns = likeness.shape
    number = min(neighbours, columns)
    value, column = torch.topk(torch.from_numpy(likeness), number, dim=1, sorted=False)
    indptr = np.arange(0, rows * number + 1, number)
    arrays = (value.flatten().numpy(), column.flatten().numpy(), indptr)
    neighbours_of = sparse.csr_array(arrays, shape=likeness.shape)
    neighbours_of.eliminate_zeros()
    return neighbours_of
