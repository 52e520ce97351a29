"""The language model that a run leaves for others to read with, and what it has learnt of."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_rec.adapters.base import AdaptedModule, Adapter
from lightning_rec.data.kept import seal
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, with_usual_modes, write_json
from lightning_rec.language.encoder import Pooling
from lightning_rec.language.hub import LEARNT, RUN_MODEL, learnt_of
from lightning_rec.language.load import note_pooling


def check_adapter(adapted: AdaptedModule | None, adapter: Adapter, what: str) -> None:
    """Raise UserError where an adapter tunes nothing, or cannot be added to the weights; ``what``:
    the part of the config that leaves a language model.
    """
    kind = type(adapter)
    if adapted is None or not adapted.names:
        raise UserError(
            f"adapter={kind.__name__} tunes nothing of the language model, which {what} is about: "
            "say adapter=full, top_layers or lora."
        )
    if adapted.added and kind.merge is Adapter.merge:
        raise UserError(
            f"adapter={kind.__name__} puts something into the language model that cannot be "
            "added to its weights, so that nothing else could read it: say adapter=full, "
            "top_layers or lora."
        )


def leave(
    adapted: AdaptedModule,
    model: Any,
    tokenizer: Any,
    folder: Path,
    began: Path,
    pooling: Pooling | None = None,
    learnt: Sequence[dict[str, Any]] = (),
) -> None:
    """Write ``language_model/`` into a run folder: a model of transformers, its adapter merged into
    its weights, and its tokenizer.

    Args:
        adapted: the model, or a part of it, under its adapter.
        model: of transformers.
        tokenizer: its own.
        folder: of the run.
        began: the folder of the language model that training began with.
        pooling: how its states become a vector; None as ``began`` says.
        learnt: logs of events that it has learnt of, beside those of ``began``.
    """
    if adapted.added:
        adapted.merge()
    with atomic_folder(folder / RUN_MODEL) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        with_usual_modes(temporary)
        note_pooling(temporary, began, pooling)
        if logs := [*learnt_of(began), *learnt]:
            write_json(temporary / LEARNT, {"logs": logs})
        seal(temporary)
        shutil.rmtree(folder / RUN_MODEL, ignore_errors=True)  # of this run, before it went on
