"""Trained models that travel: one folder of plain data, which opens without what training needs."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.bundle.manifest import MANIFEST
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_file

if TYPE_CHECKING:
    from lightning_rec.predict.base import Predictor


def identity_of(folder: Path) -> str:
    """A hash of the record of what a folder's files are: of a bundle, or of a run."""
    records = (folder / name for name in (MANIFEST, "checksums.json", "weights.safetensors"))
    return sha256_file(next(each for each in records if each.is_file()))


def open_model(
    folder: str | Path, trust: str | Iterable[str] = (), new_items: Any = None
) -> "Predictor":
    """What answers of a bundle, or of a completed run folder.

    ``new_items``: of a run folder, see :func:`~lightning_rec.load_run`; a bundle has those that it
    was exported with.
    ``trust`` names modules of your own, one or several, whose classes it may build.

    Raises UserError if it is neither, or is not as it was written.
    """
    path = Path(folder)
    if (path / MANIFEST).is_file():
        if new_items is not None:
            raise UserError(
                f"{path} is a bundle, with the items that it was exported with: export its run "
                "again with the new ones, new_items=FILE."
            )
        from lightning_rec.bundle.opening import open_bundle
        from lightning_rec.trust import trusting

        with trusting(trust):
            return open_bundle(path)
    from lightning_rec.build import load_run

    return load_run(path, new_items=new_items, trust=trust)
