"""Product quantisation: a few bytes for each vector, and the best of them scored again exactly.

Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search, PAMI 2011. Shapes: N
vectors of width Q in m parts of width d, 256 centroids of each part.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from lightning_rec.retrieval.index.base import Floats, Ids, Index, Nearest, ordered

FILE = "codes.safetensors"
CENTROIDS = 256  # of each part: a byte
PART = 4  # numbers that one byte stands for, or fewer
ROUNDS, TRAINED_ON = 20, 2**15  # of k-means, and the vectors that it reads
AGAIN = 100  # of the best by codes that are scored again
BLOCK = 2**16  # vectors whose codes are made, or scored, at once

Codes = NDArray[np.uint8]


class ProductIndex(Index):
    """A byte for every four numbers of a vector; whole vectors are read for the best alone.

    Scores by codes are sums of m numbers that are looked up (section 3.2, asymmetric distances).
    The best 100 are scored again by the ``vectors``, which may lie on a disk: an opened index has
    them memory-mapped. Vectors that come later are coded by the centroids that there are.
    """

    kind = "pq"

    def __init__(
        self, ids: Ids, vectors: Floats, centroids: Floats | None = None, again: int = AGAIN
    ) -> None:
        super().__init__(ids, vectors)
        self.again = again
        self.centroids = learnt(self.vectors) if centroids is None else centroids
        self.codes = coded(self.vectors, self.centroids)

    def search(self, queries: Floats, k: int) -> Nearest:
        """See :class:`Index`; with ``again=0`` scores are those by codes."""
        number = min(max(k, self.again), len(self))
        found = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, query in enumerate(queries if number else ()):
            near = self._scored(query)
            best = np.argpartition(-near, number - 1)[:number]
            near = self.vectors[best] @ query if self.again else near[best]
            ids, near = ordered(self.ids[best][None], near[None])
            found[row, : min(k, number)], scores[row, : min(k, number)] = ids[0, :k], near[0, :k]
        return Nearest(found, scores)

    def rebuilt(self) -> Floats:
        """What the codes say of each vector: float32 [N, Q]."""
        parts = [table[self.codes[:, part]] for part, table in enumerate(self.centroids)]
        return np.hstack(parts)[:, : self.vectors.shape[1]]

    def _scored(self, query: Floats) -> Floats:
        """The score by codes of each vector: float32 [N]."""
        number, _, width = self.centroids.shape
        parts = np.pad(query, (0, number * width - len(query))).reshape(number, width)
        table = np.einsum("mcd,md->mc", self.centroids, parts)  # [m, 256]
        scores = np.zeros(len(self.codes), dtype=np.float32)
        for part in range(number):
            scores += table[part][self.codes[:, part]]
        return scores

    def _added(self, ids: Ids, vectors: Floats) -> None:
        self.codes = coded(self.vectors, self.centroids)

    def _removed(self, ids: Ids) -> None:
        self.codes = coded(self.vectors, self.centroids)

    def _write(self, folder: Path) -> None:
        (folder / FILE).write_bytes(save({"centroids": self.centroids}))

    @classmethod
    def _open(cls, folder: Path, facts: dict[str, Any], ids: Ids, vectors: Floats) -> Self:
        return cls(ids, vectors, load_file(folder / FILE)["centroids"])


def learnt(vectors: Floats, part: int = PART) -> Floats:
    """Centroids of each part of vectors, by k-means: float32 [m, 256, d]."""
    generator = np.random.default_rng(0)
    some = vectors[generator.permutation(len(vectors))[:TRAINED_ON]]
    number = -(-vectors.shape[1] // part)
    some = np.pad(some, ((0, 0), (0, number * part - vectors.shape[1])))
    made = np.zeros((number, CENTROIDS, part), dtype=np.float32)
    for place in range(number):
        points = some[:, place * part : (place + 1) * part]
        if not len(points):
            continue
        centres = points[generator.integers(len(points), size=CENTROIDS)].copy()
        centres[: min(CENTROIDS, len(points))] = points[:CENTROIDS]
        for _ in range(ROUNDS):
            of = _nearest(points, centres)
            counts = np.bincount(of, minlength=CENTROIDS)
            for column in range(part):
                sums = np.bincount(of, weights=points[:, column], minlength=CENTROIDS)
                moved = sums[counts > 0] / counts[counts > 0]
                centres[counts > 0, column] = moved
        made[place] = centres
    return made


def coded(vectors: Floats, centroids: Floats) -> Codes:
    """The nearest centroid of each part of each vector: uint8 [N, m]."""
    number, _, width = centroids.shape
    codes = np.zeros((len(vectors), number), dtype=np.uint8)
    for start in range(0, len(vectors), BLOCK):
        rows = slice(start, start + BLOCK)
        some = np.pad(vectors[rows], ((0, 0), (0, number * width - vectors.shape[1])))
        for part, centres in enumerate(centroids):
            codes[rows, part] = _nearest(some[:, part * width : (part + 1) * width], centres)
    return codes


def _nearest(points: Floats, centres: Floats) -> NDArray[np.int64]:
    return np.argmin(np.square(centres).sum(axis=1) - 2 * points @ centres.T, axis=1)
