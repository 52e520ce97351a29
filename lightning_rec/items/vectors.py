"""Items known by given vectors."""

from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from lightning_rec.data.given_vectors import Missing, read_vector_file, vectors_of
from lightning_rec.errors import UserError
from lightning_rec.items.base import OfVectors, Reading
from lightning_rec.models.items.adaptors import AdaptorName
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.models.items.vectors import KnownVectors, VectorSource, whitening
from lightning_rec.ranges import BelowOne


class Vectors(OfVectors):
    """Items are known by given vectors, such as of images, of a graph or of another model.

    Args:
        path: ``.npy``, ``.safetensors`` or ``.parquet``.
        item_ids: ids of the rows, for the first two: text, one a line, or ``.npy``.
        id_column: the column, or tensor, of ids.
        vector_column: the column, or tensor, of vectors.
        missing: what becomes of items without a vector: ``refuse``, or ``zero`` takes 0.
        whiten: make the vectors of the training items uncorrelated and of equal spread.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a training step.
        adaptor: what maps the vectors: ``linear``, or ``moe``, a mixture of experts.
        experts: how many.
        adaptor_dropout: of what each expert reads.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
    """

    choice = "vectors"

    def __init__(
        self,
        path: str,
        item_ids: str | None = None,
        id_column: str = "item",
        vector_column: str = "vector",
        missing: Missing = "refuse",
        whiten: bool = True,
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        adaptor: AdaptorName = "linear",
        experts: PositiveInt = 8,
        adaptor_dropout: BelowOne = 0.2,
        neighbours: NonNegativeInt = NEIGHBOURS,
    ) -> None:
        self.path, self.item_ids = Path(path), None if item_ids is None else Path(item_ids)
        self.id_column, self.vector_column, self.missing = id_column, vector_column, missing
        self.whiten = whiten
        self._set_adaptor(adaptor, experts, adaptor_dropout)
        self._set_ids(ids, id_dropout, neighbours)
        self.title = f"vectors{' and ids' if ids else ''} of {self.path.name}"

    def read(self, reading: Reading) -> VectorSource | None:
        """The vectors of the catalogue's items, which belong to the weights of a run."""
        if reading.restoring:
            return None
        file = read_vector_file(self.path, self.item_ids, self.id_column, self.vector_column)
        vectors, known = vectors_of(file, reading.ids, self.missing)
        return known_vectors(
            torch.from_numpy(vectors), torch.from_numpy(known), reading.trained, self.whiten
        )


def known_vectors(given: Tensor, mask: Tensor, trained: int, whiten: bool) -> KnownVectors:
    """Vectors, float [V, E], as a part of a run, whitened by those that are there of the
    ``trained`` first items; ``mask``, bool [V], says which are there, and the others are 0.

    Raises UserError if none of these items has one.
    """
    of_trained = given[:trained][mask[:trained]]
    if not len(of_trained):
        raise UserError("item=: no item with training events has a vector, so nothing is learnt.")
    if whiten:
        mean, basis = whitening(of_trained)
        given = ((given - mean) @ basis) * mask[:, None]
    return KnownVectors(given, saved=True)
