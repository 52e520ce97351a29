"""V-SKNN: what the sessions hold that are most like this one, its latest items weighing most.

Ludewig and Jannach, Evaluation of session-based recommendation algorithms, UMUAI 2018,
arXiv:1803.09587, with the options and defaults of the authors' code, session-rec. M queries,
V = num_items, S sessions that train, P pairs of a query and a session.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.data.types import Ints
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.classic.parts import Sparse, past, pick, training_events, training_matrix

Floats = NDArray[np.float64]
Weighting = Literal["same", "div", "linear", "log", "quadratic"]

DIGITS = 10  # to which likenesses are compared
BLOCK_PAIRS = 2**21  # of a query's item and a session, looked at together


class Items(NamedTuple):
    """The distinct items of M sessions, in the order of rows, [n] each.

    row: of the session, int64.  item: its code, int64.
    age: of its latest event, 0 for the session's last one, int64.
    used: whether it is compared, bool.  weight: w, 0 where it is not, float64.
    """

    row: Ints
    item: Ints
    age: Ints
    used: NDArray[np.bool_]
    weight: Floats


class Near(NamedTuple):
    """Neighbours of M sessions, [P] each: row int64, session int64, weight float64."""

    row: Ints
    session: Ints
    weight: Floats


class VSKNN(SequenceModel):
    """The score of an item is the sum of the weights of those neighbours that hold it.

    Of the training sessions that share an item with this one, the latest ``sample_size`` are
    compared with it. Sessions are sets. With w_i the weight of item i by its latest place, a
    session's likeness is the sum of w_i over what is shared, divided by the number of items here
    (``vec``), or by the length of w and the root of its own number of items (``cosine``). The ``k``
    most alike are neighbours, each weighing its likeness times a factor for how many steps ago
    the latest shared item was. Of equally alike sessions, later ones come first.

    With r the number of steps ago, 0 for the latest item, and n that of items, w is 1 (``same``),
    (n - r) / n (``div``), its square (``quadratic``), 1 - r / 10 and not below 0 (``linear``) or
    1 / log10(r + 1.7) (``log``); the factor is 1, 1 / (r + 1), 1 / (r + 1)², 1 - (r + 1) / 10 and
    not below 0, or 1 / log10(r + 2.7).

    Args:
        k: number of neighbours.
        sample_size: how many sessions are compared.
        weighting: w.
        weighting_score: the factor.
        last_n_items: compare these latest items of a session alone; None compares all.
        idf_weighting: the score of an item is raised by this times its idf; 0 is off.
        remind: whether items of the session are scored too.
    """

    objectives = ("closed_form",)
    raised: Tensor

    def __init__(
        self,
        schema: Schema,
        k: PositiveInt = 100,
        sample_size: PositiveInt = 1000,
        similarity: Literal["vec", "cosine"] = "vec",
        weighting: Weighting = "div",
        weighting_score: Weighting = "div",
        last_n_items: PositiveInt | None = None,
        idf_weighting: NonNegativeFloat = 0.0,
        remind: bool = True,
    ) -> None:
        super().__init__(schema)
        self.k, self.sample_size, self.similarity = k, sample_size, similarity
        self.weighting, self.weighting_score = weighting, weighting_score
        self.last_n_items, self.idf_weighting, self.remind = last_n_items, idf_weighting, remind
        self.held = Sparse(schema.num_users, schema.num_items)  # items of sessions, oldest first
        self.latest = Sparse(schema.num_items, schema.num_users)  # latest sessions of items
        self.register_buffer("raised", torch.ones(schema.num_items, dtype=torch.float64))

    def fit(self, split: Split) -> None:
        """Put the training sessions into the order of their ends, and remember them."""
        matrix = training_matrix(split)
        order = np.arange(split.num_users)
        if split.times is not None:
            ends = np.full(split.num_users, split.times.min())
            user, position = training_events(split)
            np.maximum.at(ends, user, split.times[position])
            order = np.argsort(ends, kind="stable")
        held = sparse.csr_array(matrix[order])
        self.held.keep(held)
        by_item = sparse.csr_array(held.T)
        by_item.sort_indices()
        # Of the sessions that share any item, the latest are among the latest of each item.
        number = np.diff(by_item.indptr)
        left = np.arange(by_item.nnz) - np.repeat(by_item.indptr[:-1], number)
        by_item.data *= left >= np.repeat(number, number) - self.sample_size
        by_item.eliminate_zeros()
        self.latest.keep(by_item)
        sessions = int((np.diff(held.indptr) > 0).sum())
        with np.errstate(divide="ignore"):  # an item without events is in no session
            idf = np.log(sessions / split.train_counts)
        idf[~np.isfinite(idf)] = 0
        self.raised.copy_(torch.from_numpy(1 + self.idf_weighting * idf))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Scores of all items: float [M, V]."""
        before = past(histories, positions, self.schema.num_items)
        seen, mask, age = (column.cpu().numpy() for column in before)
        items = self._items(seen, mask, age)
        held, raised = self.held.scipy(), self.raised.cpu().numpy()
        scores = np.zeros((len(seen), self.schema.num_items), dtype=np.float32)
        for near in self._neighbours(items):
            shape = (len(seen), self.schema.num_users)
            weights = sparse.csr_array((near.weight, (near.row, near.session)), shape=shape)
            rows = np.unique(near.row)
            scores[rows] = (weights[rows] @ held).toarray() * raised
        if not self.remind:
            scores[items.row, items.item] = 0
        return torch.from_numpy(scores).to(histories.items.device)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Pick from what ``forward`` made; see :meth:`SequenceModel.scores`."""
        return queries.clone() if items is None else pick(queries, items)

    def _items(self, seen: Ints, mask: NDArray[np.bool_], age: Ints) -> Items:
        """Each item of a row once, at its latest position: from [M, L] each."""
        row, column = np.nonzero(mask)
        item, age = seen[row, column], age[row, column]
        order = np.lexsort((age, item, row))
        order = order[_changes(row[order], item[order])]  # the latest of each item alone
        row, item, age = row[order], item[order], age[order]
        number = mask.sum(axis=1)[row]
        if self.last_n_items is not None:
            number = np.minimum(number, self.last_n_items)
        used = age < number
        return Items(row, item, age, used, used * _weights(self.weighting, age, number))

    def _neighbours(self, items: Items) -> Iterator[Near]:
        """Neighbours of some rows at a time."""
        latest = self.latest.scipy()
        pairs = np.diff(latest.indptr)[items.item].astype(np.int64)
        for some in _blocks(items.row, pairs):
            which = np.repeat(np.arange(some.start, some.stop), pairs[some])
            first = latest.indptr[items.item[which]]
            session = latest.indices[first + _from_start(which)].astype(np.int64)
            if len(which):
                yield self._nearest(items, which, session)

    def _nearest(self, items: Items, which: Ints, session: Ints) -> Near:
        """The neighbours among pairs of a place in ``items`` and a session: int64 [n] each."""
        order = np.lexsort((session, items.row[which]))
        which, session = which[order], session[order]
        row = items.row[which]
        begins = _changes(row, session)
        shared = np.add.reduceat(items.weight[which], begins)
        age = np.where(items.used, items.age, np.iinfo(np.int64).max)[which]
        age, row, session = np.minimum.reduceat(age, begins), row[begins], session[begins]
        recent = _from_start(row[::-1])[::-1] < self.sample_size
        alike = shared / self._norms(items, row, session)
        near = np.flatnonzero(recent & (alike > 0))
        # Rounded, since the order in which weights are added up must not decide who is a neighbour.
        near = near[np.lexsort((-session[near], -alike[near].round(DIGITS), row[near]))]
        near = near[_from_start(row[near]) < self.k]
        factor = _factors(self.weighting_score, age[near])
        return Near(row[near], session[near], alike[near] * factor)

    def _norms(self, items: Items, row: Ints, session: Ints) -> Floats:
        """What the shared weight is divided by: float64 [P]."""
        if self.similarity == "vec":
            norms = np.bincount(items.row, items.used)[row]
        else:
            size = np.diff(self.held.indptr.cpu().numpy())[session]
            norms = np.sqrt(np.bincount(items.row, items.weight**2)[row] * size)
        return np.maximum(norms, np.finfo(np.float64).tiny)


def _changes(*columns: Ints) -> Ints:
    """Positions where any of the columns, int64 [n], is not what it was before: int64."""
    differs = np.any([np.diff(column) != 0 for column in columns], axis=0)
    return np.flatnonzero(np.append(True, differs))[: len(columns[0])]


def _blocks(row: Ints, pairs: Ints) -> Iterator[slice]:
    """Cut sorted rows into runs of whole rows with about ``BLOCK_PAIRS`` pairs."""
    starts = np.append(_changes(row), len(row))
    before = np.append(0, np.cumsum(pairs))[starts]
    begin = 0
    while begin < len(starts) - 1:
        end = int(np.searchsorted(before, before[begin] + BLOCK_PAIRS, side="right")) - 1
        end = max(end, begin + 1)
        yield slice(int(starts[begin]), int(starts[end]))
        begin = end


def _from_start(row: Ints) -> Ints:
    """Position of each among its equals, which lie together: int64 [n]."""
    firsts = _changes(row)
    return np.arange(len(row)) - np.repeat(firsts, np.diff(np.append(firsts, len(row))))


def _weights(kind: Weighting, age: Ints, number: Ints) -> Floats:
    """w, float64: ``age`` steps ago, of ``number`` items."""
    if kind in ("div", "quadratic"):
        share: Floats = (number - age) / number
        return share if kind == "div" else share**2
    return _decay(kind, age.astype(np.float64))


def _factors(kind: Weighting, age: Ints) -> Floats:
    """The factor of a neighbour whose latest shared item was ``age`` steps ago, float64."""
    step = age.astype(np.float64) + 1
    if kind in ("div", "quadratic"):
        return 1 / step if kind == "div" else 1 / step**2
    return _decay(kind, step)


def _decay(kind: Weighting, step: Floats) -> Floats:
    """What weights and factors have in common, float64: 1, or what falls with ``step``."""
    if kind == "same":
        return np.ones(len(step))
    if kind == "linear":
        return np.maximum(0, 1 - 0.1 * step)
    return np.asarray(1 / np.log10(step + 1.7), dtype=np.float64)
