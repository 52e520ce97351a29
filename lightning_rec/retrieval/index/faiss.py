"""An inverted file of faiss: vectors lie in cells, and the nearest cells of a query are scored.

Jegou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011 (section 4); Douze et al.,
The Faiss library, 2024, arXiv:2401.08281.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np

from lightning_rec.errors import import_extra
from lightning_rec.retrieval.index.base import Floats, Ids, Index, Nearest

FILE = "faiss.bin"
ENOUGH = 0.98  # recall to which the number of cells that are scored is raised
TRAINED_ON = 64  # vectors of each cell, from which cells are made


class FaissIndex(Index):
    """Cells as many as four roots of the vectors; as many of them are scored as recall needs.

    The number is doubled when the index is built, until the ten best are found in 98 of 100.
    """

    kind = "faiss"

    def __init__(self, ids: Ids, vectors: Floats, made: Any = None) -> None:
        super().__init__(ids, vectors)
        self._faiss = import_extra("faiss", "index=faiss", "index")
        self._index = self._make() if made is None else made

    def search(self, queries: Floats, k: int) -> Nearest:
        """See :class:`Index`."""
        scores, ids = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        return Nearest(ids, np.where(ids < 0, -np.inf, scores).astype(np.float32))

    def measure(self, queries: Floats | None = None, k: int = 10) -> float:
        """Raise the number of cells until recall is enough; see :meth:`Index.measure`."""
        while super().measure(queries, k) < ENOUGH and self._index.nprobe < self._index.nlist:
            self._index.nprobe = min(2 * self._index.nprobe, self._index.nlist)
        return self.recall

    def _make(self) -> Any:
        number, width = self.vectors.shape
        cells = int(min(max(1, 4 * number**0.5), max(1, number // 39)))
        coarse = self._faiss.IndexFlatIP(width)
        made = self._faiss.IndexIVFFlat(coarse, width, cells, self._faiss.METRIC_INNER_PRODUCT)
        drawn = np.random.default_rng(0).permutation(number)[: TRAINED_ON * cells]
        made.train(self.vectors[drawn] if number else np.zeros((1, width), np.float32))
        made.add_with_ids(self.vectors, self.ids)
        made.nprobe = max(1, cells // 64)
        return made

    def _added(self, ids: Ids, vectors: Floats) -> None:
        self._index.add_with_ids(vectors, ids)

    def _removed(self, ids: Ids) -> None:
        self._index.remove_ids(ids)

    def _write(self, folder: Path) -> None:
        self._faiss.write_index(self._index, str(folder / FILE))

    def _facts(self) -> dict[str, Any]:
        return {"cells": self._index.nlist, "scored": self._index.nprobe}

    @classmethod
    def _open(cls, folder: Path, facts: dict[str, Any], ids: Ids, vectors: Floats) -> Self:
        faiss = import_extra("faiss", "index=faiss", "index")
        return cls(ids, vectors, faiss.read_index(str(folder / FILE)))
