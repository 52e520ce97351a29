"""What models share that say the next item's id code by code: all ids ranked, or those of a beam.

Shapes: as in :class:`CodedModel`; M queries, C leaves of the trie of all ids.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from lightning_rec.data.semantic.quantise import Quantizer
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.models.sequential.coded import CodedModel
from lightning_rec.models.trie import Trie


class BeamedModel(CodedModel):
    """A model whose score of an item is the log-likelihood of its id.

    ``beam``: how many ids are kept at each level; None ranks all. ``query_width``: columns of a
    query before anything is found for it.
    """

    query_width: int

    def __init__(
        self,
        schema: Schema,
        beam: int | None,
        quantizer: Quantizer,
        levels: int,
        codes: int,
        unique: bool,
    ) -> None:
        super().__init__(schema, quantizer, levels, codes, unique)
        self.beam = beam
        self._trie: tuple[tuple[int, int], Trie] | None = None

    @property
    def trie(self) -> Trie:
        """The ids of all items."""
        state = (self.codes._version, self.codes.data_ptr())
        if self._trie is None or self._trie[0] != state:
            self._trie = state, Trie.of(self.codes)
        return self._trie[1]

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Queries that fit into the memory at once."""

    @abstractmethod
    def search(self, queries: Tensor, left: Tensor | None) -> Tensor:
        """What is found for queries, float [N, Q]: float [N, C], scores of all leaves, or of a beam
        float [N, 2 beam], leaves (-1: none) and scores.

        ``left``: bool [N, C], leaves that are no candidates of a beam.
        """

    @abstractmethod
    def of_items(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores of each query's own items, int64 [M, n]: float [M, n]."""

    def among(self, queries: Tensor, row: Tensor, item: Tensor) -> Tensor:
        """Queries with what was found for them; see :class:`ScoresAmong`. Those that have it stay.

        In further columns: C scores of all leaves, or leaves (-1: none) and scores of the beam.
        """
        return self.retrieve(queries, row, item, None)

    def retrieve(
        self, queries: Tensor, row: Tensor, item: Tensor, allowed: Tensor | None
    ) -> Tensor:
        """The same among the items ``allowed``, bool [V]; see :class:`Retrieves`."""
        if not len(queries) or queries.shape[1] > self.query_width:
            return queries
        most = len(self.trie.items) if self.beam is None else 2 * self.beam
        found, step, left = queries.new_empty(len(queries), most), self.at_once, None
        for start in range(0, len(queries), step):
            own = queries[start : start + step]
            if self.beam is not None:
                here = (row >= start) & (row < start + step)
                left = self._left(len(own), row[here] - start, item[here], allowed)
            found[start : start + step] = self.search(own, left)
        return torch.cat([queries, found], dim=1)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Log-likelihoods; not a number for what a beam did not find, unless an item is asked for
        by one query alone. See :meth:`SequenceModel.scores`.
        """
        if items is not None and items.dim() == 2:
            return self.of_items(queries, items)
        if self.training and self.beam is not None:
            raise UserError(
                f"model.beam={self.beam}: a beam finds some of the items, and this loss wants the "
                "scores of all or many: say loss=likelihood, or model.beam=null."
            )
        none = torch.zeros(0, dtype=torch.int64, device=queries.device)
        queries = self.among(queries, none, none)
        scores = queries[:, self.query_width :]
        if self.beam is not None:
            leaf, found = scores.split(self.beam, dim=1)
            whole = queries.new_full((len(queries), len(self.trie.items) + 1), torch.nan)
            scores = whole.scatter(1, leaf.long() % whole.shape[1], found)  # -1 is the last column
        return scores[:, self.trie.leaf if items is None else self.trie.leaf[items]]

    def _left(self, size: int, row: Tensor, item: Tensor, allowed: Tensor | None) -> Tensor | None:
        """Leaves none of whose items is a candidate: bool [N, C]."""
        trie = self.trie
        if not len(row) and allowed is None:
            return None
        known = item >= 0
        count = torch.zeros(size, len(trie.items), dtype=torch.int64, device=row.device)
        pairs = torch.unique(torch.stack([row[known], item[known]]), dim=1)
        if allowed is not None:
            pairs = pairs[:, allowed[pairs[1]]]  # else counted twice
            count += torch.bincount(trie.leaf[~allowed], minlength=len(trie.items))
        ones = torch.ones_like(pairs[0])
        count.index_put_((pairs[0], trie.leaf[pairs[1]]), ones, accumulate=True)
        return count >= trie.items
