"""The interface of an index of vectors: the largest inner products, without scoring everything.

Shapes: N vectors of width Q, B queries, k found for each.
"""

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, sha256_file, write_json

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Kind = Literal["exact", "faiss", "usearch", "pq"]

FORMAT = 1
MANIFEST, DATA = "index.json", "vectors.safetensors"
BLOCK_BYTES = 64 * 2**20  # of scores that are held at once
TRIED, TRIED_AT = (
    200,
    10,
)  # vectors whose neighbours are looked up to state the recall, and how many


class Nearest(NamedTuple):
    """What was found for B queries.

    ids: int64 [B, k], best first, -1 where there is nothing more.  scores: float32 [B, k], inner
    products, -inf there.
    """

    ids: Ids
    scores: Floats


class Index(ABC):
    """Vectors by id, found by their inner product with a query.

    ``kind``: its name in ``index=``. ``vectors``: those that it holds, float32 [N, Q], in the order
    of ``ids``, int64 [N]; an index that has its own copy keeps them too, to say what it misses and
    to be changed. ``recall``: the share of the ten best that it finds, of those of 200 queries,
    when it was built or last measured.
    """

    kind: ClassVar[str]
    ids: Ids
    vectors: Floats
    recall: float = 1.0

    def __init__(self, ids: Ids, vectors: Floats) -> None:
        self.ids, self.vectors = _checked(ids, vectors)
        self._rows = {int(each): row for row, each in enumerate(self.ids)}

    @classmethod
    def build(cls, vectors: Floats, ids: Ids | None = None, queries: Floats | None = None) -> Self:
        """An index of vectors, whose recall is measured and logged.

        ``ids``: None numbers them from 0. ``queries``: float32 [n, Q], such as will come; None
        takes some of the vectors themselves.
        """
        made = cls(np.arange(len(vectors)) if ids is None else ids, vectors)
        made.measure(queries)
        return made

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def search(self, queries: Floats, k: int) -> Nearest:
        """The ``k`` vectors with the largest inner product with each query, float32 [B, Q]."""

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Take in new vectors, in place. Raises UserError for an id that is there already."""
        ids, vectors = _checked(ids, vectors, self.vectors.shape[1])
        if there := [int(each) for each in ids if int(each) in self._rows]:
            raise UserError(f"The index holds id {there[0]} already: replace it, or remove it.")
        self._rows |= {int(each): len(self.ids) + place for place, each in enumerate(ids)}
        self.ids = np.concatenate([self.ids, ids])
        self.vectors = np.concatenate([self.vectors, vectors])
        self._added(ids, vectors)

    def remove(self, ids: Ids) -> None:
        """Take vectors out, in place. Raises UserError for an id that is not there."""
        out = [self._row(int(each)) for each in ids]
        keep = np.ones(len(self.ids), dtype=bool)
        keep[out] = False
        self.ids, self.vectors = self.ids[keep], self.vectors[keep]
        self._rows = {int(each): row for row, each in enumerate(self.ids)}
        self._removed(np.asarray(ids, dtype=np.int64))

    def replace(self, ids: Ids, vectors: Floats) -> None:
        """Give ids that are there other vectors, in place. Raises UserError for an unknown id."""
        ids, vectors = _checked(ids, vectors, self.vectors.shape[1])
        self.vectors = self.vectors.copy()
        self.vectors[[self._row(int(each)) for each in ids]] = vectors
        self._removed(ids)
        self._added(ids, vectors)

    def measure(self, queries: Floats | None = None, k: int = TRIED_AT) -> float:
        """The share of the ``k`` best that are found, of 200 queries; kept as ``recall``."""
        if not len(self):
            return self.recall
        if queries is None:
            drawn = np.random.default_rng(0).permutation(len(self))[:TRIED]
            queries = self.vectors[drawn]
        queries, k = queries[:TRIED], min(k, len(self))
        best = largest(self.vectors, self.ids, queries, k)
        found = self.search(queries, k).scores
        # By scores: of equal ones either is right.
        enough = best.scores[:, -1:] - 1e-5 * np.abs(best.scores[:, -1:])
        self.recall = float((found >= enough).mean())
        log.info(
            "index=%s over %s vectors: recall@%d %.4f", self.kind, f"{len(self):,}", k, self.recall
        )
        return self.recall

    def save(self, folder: Path) -> None:
        """Write it to a new folder, whole or not at all."""
        if folder.exists():
            raise UserError(f"{folder} is there already: name a folder that is not.")
        with atomic_folder(folder) as made:
            (made / DATA).write_bytes(save({"ids": self.ids, "vectors": self.vectors}))
            self._write(made)
            files = {path.name: sha256_file(path) for path in sorted(made.iterdir())}
            facts = {"format": FORMAT, "kind": self.kind, "recall": self.recall}
            write_json(made / MANIFEST, facts | self._facts() | {"files": files})

    @classmethod
    def _open(cls, folder: Path, facts: dict[str, Any], ids: Ids, vectors: Floats) -> Self:
        """The index that was saved, of what all of them save and its own files."""
        return cls(ids, vectors)

    # An exact index has no structure of its own.
    def _added(self, ids: Ids, vectors: Floats) -> None:  # noqa: B027
        """Take vectors into its own structure."""

    def _removed(self, ids: Ids) -> None:  # noqa: B027
        """Take vectors out of its own structure."""

    def _write(self, folder: Path) -> None:  # noqa: B027
        """Write its own structure."""

    def _facts(self) -> dict[str, Any]:
        return {}

    def _row(self, each: int) -> int:
        if each not in self._rows:
            raise UserError(f"The index holds no id {each}.")
        return self._rows[each]


class ExactIndex(Index):
    """Every inner product, in blocks."""

    kind = "exact"

    def search(self, queries: Floats, k: int) -> Nearest:
        """See :class:`Index`."""
        return largest(self.vectors, self.ids, queries, k)


def largest(vectors: Floats, ids: Ids, queries: Floats, k: int) -> Nearest:
    """The ``k`` largest inner products of each query, float32 [B, Q], by all of them."""
    number, size = min(k, len(vectors)), len(queries)
    step = max(1, BLOCK_BYTES // (4 * max(1, len(vectors))))
    found = np.full((size, k), -1, dtype=np.int64)
    scores = np.full((size, k), -np.inf, dtype=np.float32)
    for start in range(0, size if number else 0, step):
        rows = slice(start, start + step)
        products = queries[rows] @ vectors.T
        best = np.argpartition(-products, number - 1, axis=1)[:, :number]
        found[rows, :number], scores[rows, :number] = ordered(
            ids[best], np.take_along_axis(products, best, axis=1)
        )
    return Nearest(found, scores)


def ordered(ids: Ids, scores: Floats) -> tuple[Ids, Floats]:
    """The best first: [B, k] each."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def saved(folder: Path) -> tuple[dict[str, Any], Ids, Floats]:
    """What a folder holds of any index. Raises UserError if it is not as it was written."""
    facts = read_json(folder / MANIFEST)
    files = facts.get("files") if isinstance(facts, dict) else None
    if not isinstance(files, dict) or facts.get("format") != FORMAT or DATA not in files:
        raise UserError(f"{folder / MANIFEST} is no index of format {FORMAT}: build it again.")
    for name, digest in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file() or sha256_file(path) != digest:
            raise UserError(
                f"{path} is missing, or not as it was written: bring it back, or build the index "
                "again."
            )
    try:
        arrays = load_file(folder / DATA)
        ids, vectors = arrays["ids"], arrays["vectors"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{folder / DATA} holds no ids and vectors: {error}.") from error
    return facts, ids, vectors


def _checked(ids: Ids, vectors: Floats, width: int | None = None) -> tuple[Ids, Floats]:
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or ids.shape != vectors.shape[:1]:
        raise UserError(f"{len(ids):,} ids and vectors of shape {vectors.shape}: one for each.")
    if width is not None and vectors.shape[1] != width:
        raise UserError(f"Vectors are {vectors.shape[1]} wide, and those of the index {width}.")
    if not np.isfinite(vectors).all():
        raise UserError("A vector holds a value that is no number.")
    if len(np.unique(ids)) != len(ids) or (len(ids) and ids.min() < 0):
        raise UserError("Ids are from 0 on, and each is there once.")
    return ids, vectors
