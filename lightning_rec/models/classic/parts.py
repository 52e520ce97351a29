"""What several classic models share: the training matrix, bags of items, sparse state, L2."""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.data.types import Ints
from lightning_rec.models.base import SequenceModel

# torch warns once a process that sparse matrices are young; nobody who trains can act on it.
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")

BLOCK_BYTES = 32 * 2**20  # of a dense piece of something that is too large to be had at once


def training_events(split: Split) -> tuple[Ints, Ints]:
    """Training events: users, int64 [S], and positions in ``split.items``, int64 [S]."""
    user = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    position = np.flatnonzero(np.arange(len(user)) < split.train_end[user])
    return user[position], position


def training_matrix(split: Split) -> sparse.csr_array:
    """Which user has which item in training, however often: float32 [num_users, num_items]."""
    user, position = training_events(split)
    index = (user.astype(np.int32), split.items[position])
    ones = np.ones(len(user), dtype=np.float32)
    matrix = sparse.csr_array((ones, index), shape=(split.num_users, split.num_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def gram_rows(
    matrix: sparse.csr_array, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows of ``matrix.T @ matrix``, some at a time: which, and float32 [rows, num_items]."""
    items = matrix.shape[1]
    by_item = matrix.T.tocsr()
    step = max(1, block_bytes // (4 * items))
    for start in range(0, items, step):
        rows = slice(start, min(items, start + step))
        yield rows, (by_item[rows] @ matrix).toarray()


class Past(NamedTuple):
    """What M queries may look at, all [M, L].

    items: int64 codes.  mask: bool, False for what is not to be looked at.
    age: int64, 0 for the item at the position asked about, 1 for the one before it.
    """

    items: Tensor
    mask: Tensor
    age: Tensor

    def weights(self, half_life: float | None) -> Tensor:
        """Of the items in the mean of a history, float [M, L]: alike, or halved with their age."""
        weight = self.mask.float()
        if half_life is not None:
            weight = weight * 0.5 ** (self.age.clamp(min=0) / half_life)
        return weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)


def past(histories: Histories, positions: Tensor, num_items: int) -> Past:
    """The history up to and including each position: bool [B, L], M of them True, or int64 [B].

    Codes of padding and mask are not read.
    """
    items = histories.items
    if positions.dtype == torch.bool:
        row, positions = positions.nonzero(as_tuple=True)
        items = items[row]
    age = positions[:, None] - torch.arange(items.shape[1], device=items.device)
    return Past(items, (age >= 0) & (items < num_items), age)


def bag(histories: Histories, positions: Tensor, num_items: int) -> Tensor:
    """Histories as sets: float [M, num_items] of 0 and 1; see :func:`past`."""
    items, mask, _ = past(histories, positions, num_items)
    row, column = mask.nonzero(as_tuple=True)
    sets = torch.zeros(len(items), num_items, device=items.device)
    sets[row, items[row, column]] = 1.0
    return sets


def pick(scores: Tensor, items: Tensor) -> Tensor:
    """Scores of ``items``, int64 [n] or [M, n], out of those of all, float [M, V]: float [M, n]."""
    return scores[:, items] if items.dim() == 1 else scores.gather(1, items)


class UserItemModel(SequenceModel):
    """A model of pairs of user and item, which knows the users that have training events."""

    objectives = ("user_item",)
    needs_order = False
    needs_users = True
    known: Tensor  # bool [num_users]

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("known", torch.zeros(schema.num_users, dtype=torch.bool))

    def fit(self, split: Split) -> None:
        """Mark the users with training events; the rest is learnt."""
        self.known.copy_(torch.from_numpy(split.train_end > split.offsets[:-1]))


def users_at(histories: Histories, positions: Tensor) -> Tensor:
    """The user of each position asked about, bool [B, L] or int64 [B]: int64 [M]."""
    if positions.dtype != torch.bool:
        return histories.user
    return histories.user[positions.nonzero()[:, 0]]


class Penalty:
    """``l2`` / 2 times the mean squared length of the vectors of each reading of a step."""

    def __init__(self, l2: float) -> None:
        self.l2 = l2
        self.cost: Tensor | float = 0.0

    def begin(self, vectors: Tensor) -> None:
        """Begin a step, which reads its queries' vectors, float [M, D]."""
        self.cost = 0.0
        self.add(vectors)

    def add(self, vectors: Tensor) -> None:
        """Add what the step reads: float [n, D]."""
        if self.l2:
            self.cost = self.cost + self.l2 / 2 * vectors.square().sum() / max(1, len(vectors))

    def take(self) -> Tensor | float:
        """The step's penalty, scalar, which is reset."""
        cost, self.cost = self.cost, 0.0
        return cost


class Sparse(nn.Module):
    """A sparse matrix in the state of a model, however many values it has.

    CSR arrays as buffers: ``indptr`` int32 [rows + 1], ``indices`` int32 [S], ``values`` float
    [S]. What is loaded may have more or fewer values than what it replaces. ``columns``: None for
    as many as the values need.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor

    def __init__(self, rows: int, columns: int | None = None) -> None:
        super().__init__()
        self.columns = columns
        self.register_buffer("indptr", torch.zeros(rows + 1, dtype=torch.int32))
        self.register_buffer("indices", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("values", torch.zeros(0))

    def keep(self, matrix: sparse.csr_array) -> None:
        """Replace the values by those of ``matrix``, [rows, columns]."""
        matrix.sort_indices()
        self.indptr.copy_(torch.from_numpy(matrix.indptr))
        self.indices = torch.from_numpy(matrix.indices.astype(np.int32)).to(self.indptr.device)
        self.values = torch.from_numpy(matrix.data.astype(np.float32)).to(self.indptr.device)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        needed = int(self.indices.max()) + 1 if self.columns is None and len(self.indices) else 0
        return len(self.indptr) - 1, self.columns or needed

    def scipy(self) -> sparse.csr_array:
        """For arithmetic between sparse matrices; on the CPU it shares the buffers' memory."""
        arrays = (self.values, self.indices, self.indptr)
        return sparse.csr_array(tuple(a.cpu().numpy() for a in arrays), shape=self.shape)

    def torch(self) -> Tensor:
        """For products with dense matrices, on the device of the buffers."""
        return torch.sparse_csr_tensor(
            self.indptr, self.indices, self.values, self.shape, check_invariants=False
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("indices", "values"):
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, getattr(self, name).new_empty(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if not self._whole():  # what computes with it reads wherever it points
            rest[-1].append(f"{prefix}indptr and {prefix}indices are no sparse matrix")

    def _whole(self) -> bool:
        """Whether every row has its values, and every value is in a column."""
        sizes, number = self.indptr.diff(), len(self.indices)
        ends = len(self.indptr) and self.indptr[0] == 0 and self.indptr[-1] == number
        if not ends or (sizes < 0).any() or len(self.values) != number:
            return False
        low, high = (self.indices.min(), self.indices.max()) if number else (0, -1)
        return bool(low >= 0 and (self.columns is None or high < self.columns))


class WeighedItems(SequenceModel):
    """A model whose score of an item is the sum of its weights for the items of a history.

    ``near`` has a row of weights for each item that is scored; most are 0.
    """

    objectives = ("closed_form",)
    needs_order = False

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.near = Sparse(schema.num_items, schema.num_items)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The history as a set: float [M, V] of 0 and 1."""
        return bag(histories, positions, self.schema.num_items)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Sums of weights; see :meth:`SequenceModel.scores`."""
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
