"""The indexes that there are, by name: which one is taken, built, opened."""

import logging
from importlib.util import find_spec
from pathlib import Path

from lightning_rec.errors import UserError, suggest
from lightning_rec.retrieval.index.base import ExactIndex, Floats, Ids, Index, saved
from lightning_rec.retrieval.index.faiss import FaissIndex
from lightning_rec.retrieval.index.product import ProductIndex
from lightning_rec.retrieval.index.usearch import UsearchIndex

log = logging.getLogger(__name__)

KINDS: dict[str, type[Index]] = {
    each.kind: each for each in (ExactIndex, FaissIndex, UsearchIndex, ProductIndex)
}
MANY = 1_000_000  # vectors from which on an approximate index is the default


def build_index(
    vectors: Floats, kind: str | None = None, ids: Ids | None = None, queries: Floats | None = None
) -> Index:
    """An index of vectors, float32 [N, Q]; see :meth:`Index.build`.

    ``kind``: None is ``exact`` below a million vectors, else ``faiss`` or ``usearch``, whichever is
    installed. Raises UserError for an unknown kind, or if its library is not installed.
    """
    kind = kind or default_kind(len(vectors))
    if kind not in KINDS:
        raise UserError(f"Unknown index '{kind}'.{suggest(kind, KINDS)}")
    return KINDS[kind].build(vectors, ids, queries)


def default_kind(number: int) -> str:
    """The index of so many vectors where nobody says which."""
    if number < MANY:
        return "exact"
    # In the order in which benchmarks/index found them sooner, to build and to ask.
    return next((name for name in ("faiss", "usearch") if find_spec(name)), "exact")


def open_index(folder: Path) -> Index:
    """What :meth:`Index.save` wrote. Raises UserError if it is not as it was written.

    The files of faiss and usearch are read by their C++: hashes tell of damage, not of malice, so
    open those of people whom you trust.
    """
    facts, ids, vectors = saved(folder)
    kind = facts.get("kind")
    if kind not in KINDS:
        raise UserError(f"{folder} is of index={kind}, which is unknown.")
    made = KINDS[kind]._open(folder, facts, ids, vectors)
    made.recall = float(facts["recall"])
    return made
