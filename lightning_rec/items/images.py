"""Items known by pictures, which a pretrained vision model reads."""

from pathlib import Path

import torch
from pydantic import NonNegativeInt

from lightning_rec.data.given_vectors import Missing
from lightning_rec.data.pictures import files_of
from lightning_rec.items.base import OfVectors, Reading
from lightning_rec.items.vectors import known_vectors
from lightning_rec.language.hub import find_model
from lightning_rec.language.vision import load_vision, picture_vectors
from lightning_rec.models.items.ids import NEIGHBOURS
from lightning_rec.models.items.vectors import VectorSource
from lightning_rec.ranges import BelowOne


class Images(OfVectors):
    """Items are known by pictures, read once by a pretrained vision model, which is not tuned.

    Args:
        path: the folder of the pictures.
        encoder: the vision model: a folder, or an id of the hub.
        column: of the catalogue, with names of files within the folder; None: a file is called by
            the id of its item.
        missing: what becomes of items without a picture: ``refuse``, or ``zero`` takes 0.
        normalize: make each vector of length 1.
        whiten: make the vectors of the training items uncorrelated and of equal spread.
        ids: add a vector of each item's own.
        id_dropout: probability that an item goes without it for a training step.
        neighbours: known items most alike, of whose own vectors a new item has the mean; 0: none.
    """

    choice = "images"

    def __init__(
        self,
        path: str,
        encoder: str = "google/siglip-base-patch16-224",
        column: str | None = None,
        missing: Missing = "zero",
        normalize: bool = True,
        whiten: bool = True,
        ids: bool = False,
        id_dropout: BelowOne = 0.0,
        neighbours: NonNegativeInt = NEIGHBOURS,
    ) -> None:
        self.path, self.name, self.column, self.missing = Path(path), encoder, column, missing
        self.normalize, self.whiten = normalize, whiten
        self.template = None if column is None else f"{{{column}}}"
        self._set_ids(ids, id_dropout, neighbours)
        self.title = f"pictures{' and ids' if ids else ''}, read by {encoder}"

    def read(self, reading: Reading) -> VectorSource | None:
        """The vectors of the items' pictures, which belong to the weights of a run."""
        if reading.restoring:
            return None
        files = files_of(self.path, reading.ids, reading.catalogue, self.column, self.missing)
        vision = load_vision(find_model(self.name, "vision model"), self.normalize)
        made = picture_vectors(vision, [path for path in files if path], reading.cache)
        mask = torch.tensor([path is not None for path in files])
        vectors = made.new_zeros(len(files), made.shape[1])
        vectors[mask] = made
        return known_vectors(vectors, mask, reading.trained, self.whiten)
