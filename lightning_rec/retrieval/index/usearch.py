"""A graph of usearch, in which a search goes from neighbour to neighbour.

Malkov and Yashunin, Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
Navigable Small World Graphs, PAMI 2020, arXiv:1603.09320; by inner products as they are, Morozov
and Babenko, Non-metric Similarity Graphs for Maximum Inner Product Search, NeurIPS 2018. Vectors
brought to one length by a further number were tried, and found far less where lengths differ.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np

from lightning_rec.errors import UserError, import_extra
from lightning_rec.retrieval.index.base import Floats, Ids, Index, Nearest, ordered

FILE = "usearch.bin"
ENOUGH = 0.98  # recall to which the width of the search is raised
WIDEST = 4096
NEIGHBOURS, BUILT_WITH = 16, 128  # of a vector in the graph; looked at to place it


class UsearchIndex(Index):
    """A graph whose search is as wide as recall needs: it is doubled when the index is built."""

    kind = "usearch"

    def __init__(self, ids: Ids, vectors: Floats, made: Any = None) -> None:
        super().__init__(ids, vectors)
        self._usearch = import_extra("usearch.index", "index=usearch", "index")
        self._index = made
        if made is None:
            self._index = self._usearch.Index(
                ndim=self.vectors.shape[1], metric="ip", dtype="f32",
                connectivity=NEIGHBOURS, expansion_add=BUILT_WITH, expansion_search=64,
            )  # fmt: skip
            self._added(self.ids, self.vectors)

    def search(self, queries: Floats, k: int) -> Nearest:
        """See :class:`Index`."""
        number, size = min(k, len(self)), len(queries)
        ids = np.full((size, k), -1, dtype=np.int64)
        scores = np.full((size, k), -np.inf, dtype=np.float32)
        if not number or not size:
            return Nearest(ids, scores)
        found = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), number)
        keys = np.asarray(found.keys).reshape(size, -1).astype(np.int64)
        distances = np.asarray(found.distances, dtype=np.float32).reshape(size, -1)
        known = np.arange(keys.shape[1]) < np.asarray(getattr(found, "counts", number)).reshape(
            -1, 1
        )
        keys, products = np.where(known, keys, -1), 1 - np.where(known, distances, np.inf)
        ids[:, : keys.shape[1]], scores[:, : keys.shape[1]] = ordered(keys, products)
        return Nearest(ids, scores)

    def measure(self, queries: Floats | None = None, k: int = 10) -> float:
        """Widen the search until recall is enough; see :meth:`Index.measure`."""
        while super().measure(queries, k) < ENOUGH and self._index.expansion_search < WIDEST:
            self._index.expansion_search = 2 * self._index.expansion_search
        return self.recall

    def _added(self, ids: Ids, vectors: Floats) -> None:
        self._index.add(ids.astype(np.uint64), vectors)

    def _removed(self, ids: Ids) -> None:
        self._index.remove(ids.astype(np.uint64))

    def _write(self, folder: Path) -> None:
        self._index.save(str(folder / FILE))

    def _facts(self) -> dict[str, Any]:
        return {"search": int(self._index.expansion_search)}

    @classmethod
    def _open(cls, folder: Path, facts: dict[str, Any], ids: Ids, vectors: Floats) -> Self:
        usearch = import_extra("usearch.index", "index=usearch", "index")
        made = usearch.Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
        try:
            made.load(str(folder / FILE))
        except Exception as error:  # of its own kinds
            raise UserError(f"{folder / FILE} cannot be read: {error}.") from error
        made.expansion_search = int(facts["search"])
        return cls(ids, vectors, made)
