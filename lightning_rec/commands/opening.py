"""What verbs that ask a model open: a run folder or a bundle, in one place."""

from pathlib import Path
from typing import NamedTuple

from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError

with loading():
    from lightning_rec.predict.base import Predictor
    from lightning_rec.predict.sequences import SequencePredictor


class Opened(NamedTuple):
    """model: that answers. path: of its folder. identity: a hash of what its files are."""

    model: Predictor
    path: Path
    identity: str


def opened(said: dict[str, str], verb: str) -> Opened:
    """The model of ``model=``. Raises UserError if none is named, or it is none."""
    if not said.get("model"):
        raise UserError(f"Say which model: lightning-rec {verb} model=FOLDER")
    with loading():
        from lightning_rec.bundle import identity_of, open_model

    path = Path(said["model"])
    new = None
    if "new_items" in said:
        from lightning_rec.rules.given import table

        new = table(Path(said["new_items"]), "item")
    model = open_model(path, new_items=new)
    return Opened(model, path, identity_of(path))


def sequences(opened: Opened, verb: str) -> SequencePredictor:
    """The model, if it is one of sequences. Raises UserError if not."""
    if not isinstance(opened.model, SequencePredictor):
        raise UserError(
            f"model={opened.path} is a run of model={opened.model.name}: '{verb}' asks a model of "
            "sequences, such as sasrec or bert4rec. Queries are asked by 'search', rows by "
            "'predict'."
        )
    return opened.model
