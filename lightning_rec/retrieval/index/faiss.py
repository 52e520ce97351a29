"""An inverted file of faiss: vectors lie in cells, and the nearest cells of a query are scored.

Jegou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011 (section 4); Douze et al.,
The Faiss library, 2024, arXiv:2401.08281.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lightning_rec.errors import UserError, import_extra
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

    def plain(self) -> dict[str, NDArray[Any]]:
        """What it is made of beside its vectors, as plain arrays: :meth:`of_plain` takes them.

        ``centres``: float32 [C, Q].  ``cells``: int32 [N], that of each vector.  ``scored``: int64
        [1], how many cells are scored for a query.
        """
        lists, cells = self._index.invlists, np.zeros(len(self), dtype=np.int32)
        order = np.argsort(self.ids)
        for cell in range(self._index.nlist):
            size = lists.list_size(cell)
            inside = self._faiss.rev_swig_ptr(lists.get_ids(cell), size) if size else self.ids[:0]
            cells[order[np.searchsorted(self.ids, inside, sorter=order)]] = cell
        centres = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        return {"centres": centres, "cells": cells, "scored": np.array([self._index.nprobe])}

    @classmethod
    def of_plain(cls, vectors: Floats, arrays: dict[str, NDArray[Any]]) -> Self:
        """The index that :meth:`plain` described, of vectors that are numbered from 0.

        Nothing is trained, and no file of faiss is read: its reader trusts what it reads. Raises
        UserError for arrays that are none of such an index.
        """
        faiss = import_extra("faiss", "index=faiss", "index")
        centres = np.ascontiguousarray(arrays["centres"], dtype=np.float32)
        cells = np.asarray(arrays["cells"], dtype=np.int64)
        number, (scored,) = len(centres), np.asarray(arrays["scored"], dtype=np.int64).tolist()
        fits = cells.shape == vectors.shape[:1] and centres.ndim == 2 and number > 0
        fits = fits and centres.shape[1] == vectors.shape[1] and bool(np.isfinite(centres).all())
        if not fits or not 1 <= scored <= number or not ((cells >= 0) & (cells < number)).all():
            raise UserError("The index does not fit the vectors of the items: export it again.")
        coarse = faiss.IndexFlatIP(vectors.shape[1])
        coarse.add(centres)
        made = faiss.IndexIVFFlat(coarse, vectors.shape[1], number, faiss.METRIC_INNER_PRODUCT)
        made.is_trained, made.nprobe = True, scored
        order = np.argsort(cells, kind="stable")
        ends = np.cumsum(np.bincount(cells, minlength=number))
        for cell, own in enumerate(np.split(order, ends[:-1])):
            if len(own):
                # Both are named: a pointer does not keep what it points to.
                ids = np.ascontiguousarray(own, dtype=np.int64)
                codes = np.ascontiguousarray(vectors[own], dtype=np.float32).view(np.uint8)
                made.invlists.add_entries(
                    cell, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(codes)
                )
        made.ntotal = len(vectors)
        return cls(np.arange(len(vectors)), vectors, made)

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
