"""From a bundle to what answers. Neither Hydra nor Lightning is imported here."""

from importlib import import_module
from pathlib import Path

from polars.exceptions import PanicException

from lightning_rec import threads, trust
from lightning_rec.bundle.manifest import MANIFEST, WEIGHTS, read
from lightning_rec.bundle.packed import Packed, read_weights
from lightning_rec.bundle.tables import names_of
from lightning_rec.errors import Quoting, UserError
from lightning_rec.predict.base import Predictor


def open_bundle(folder: Path) -> Predictor:
    """What answers of a bundle.

    Raises UserError if it is none, is of a newer version, is not as it was written, or names a
    class that is neither on the list of :mod:`lightning_rec.trust` nor trusted.
    """
    threads.watch()
    manifest = read(folder)
    trust.check_saved(folder / MANIFEST, manifest.settings)  # also what lies in a module nearby
    weights = read_weights(folder / WEIGHTS)
    packed = Packed(manifest.kind, manifest.settings, weights, folder=folder)
    try:
        for name in names_of(manifest.kind):
            packed.table(name)
        kind = import_module(f"lightning_rec.bundle.{manifest.kind}")  # one of three
        predictor: Predictor = kind.unpack(packed)
    except UserError:
        raise
    except (Exception, PanicException) as error:  # what is in a folder decides what is raised
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise Quoting(f"{folder} does not fit together: {reason}", folder) from error
    if packed.weights:
        told = f"{folder / WEIGHTS} holds {min(packed.weights)}, which its model has no place for."
        raise UserError(f"{told} Export it again.")
    return predictor
