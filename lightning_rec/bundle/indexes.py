"""The index of a bundle: built and measured at export, and opened as plain arrays.

``index/items.safetensors`` and ``index/similar.safetensors`` hold what faiss made beside the
vectors, which are those of the model. Other kinds have files of their own, whose readers trust what
they read: a bundle may come from anybody, so these are built again when they are first asked.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lightning_rec.bundle.packed import Packed
from lightning_rec.errors import UserError
from lightning_rec.models.base import InnerProduct
from lightning_rec.predict.indexed import Indexed
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.retrieval.index.base import TRIED, Floats, Index
from lightning_rec.retrieval.index.faiss import FaissIndex
from lightning_rec.retrieval.indexed import IndexRetriever

FOLDER = "index"


def pack(predictor: SequencePredictor, kind: str, packed: Packed) -> None:
    """Build the indexes of a predictor, and add them to what a bundle holds.

    Raises UserError for an unknown kind, or a model whose scores are no inner products.
    """
    built = Indexed(kind)
    if not isinstance(predictor.model, InnerProduct):
        raise UserError(
            f"index={kind} finds vectors, and the scores of {predictor.name} are no inner products "
            "of such: leave it out."
        )
    packed.settings["index"] = {"kind": kind, "recall": 1.0, "similar_recall": 1.0}
    if kind == "exact":
        return
    retriever = built.retriever(predictor.model, None, predictor.some_queries)
    assert isinstance(retriever, IndexRetriever)
    near = built.similar(predictor.directions())
    assert near is not None
    recalls = {"recall": retriever.index.recall, "similar_recall": near.recall}
    packed.settings["index"] |= recalls
    if isinstance(retriever.index, FaissIndex) and isinstance(near, FaissIndex):
        arrays = {"items": _plain(retriever.index), "similar": _plain(near)}
        packed.folders[FOLDER] = partial(_write, arrays)


def unpack(predictor: SequencePredictor, packed: Packed) -> None:
    """Let a predictor look up items as its bundle says."""
    settings: dict[str, Any] = packed.settings["index"]
    kind, folder = str(settings["kind"]), packed.folder / FOLDER
    made = {}
    if kind == FaissIndex.kind:
        recalls = {"items": settings["recall"], "similar": settings["similar_recall"]}
        for name, recall in recalls.items():
            made[name] = partial(_opened, folder / f"{name}.safetensors", float(recall))
    predictor.indexed = Indexed(kind, made)


def _plain(index: FaissIndex) -> dict[str, Any]:
    """Its plain arrays, of which what is opened finds the same. Raises UserError if not."""
    arrays, asked = index.plain(), index.vectors[:TRIED]
    found = [each.search(asked, 10) for each in (index, index.of_plain(index.vectors, arrays))]
    if not np.array_equal(found[0].scores, found[1].scores):
        raise UserError("The index does not find the same after it is opened: please report this.")
    return arrays


def _write(arrays: dict[str, dict[str, Any]], folder: Path) -> None:
    folder.mkdir()
    for name, own in arrays.items():
        plain = {key: np.ascontiguousarray(value) for key, value in own.items()}
        (folder / f"{name}.safetensors").write_bytes(save(plain))


def _opened(path: Path, recall: float, vectors: Floats) -> Index:
    try:
        found = FaissIndex.of_plain(vectors, load_file(path))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no index: {reason}. Export it again.") from error
    found.recall = recall
    return found
