"""Sequences whose next item a language model says, tuned as ``adapter=`` says."""

from typing import Any, ClassVar

from lightning_rec.config import plain
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Schema
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.items.base import Reading
from lightning_rec.language.load import words_loader
from lightning_rec.methods.update import Before
from lightning_rec.models.base import SequenceModel
from lightning_rec.problems.history_encoders import attach
from lightning_rec.problems.sequences import Sequences


class WordedSequences(Sequences):
    """A model that says items by words of a language model, such as
    :class:`~lightning_rec.models.text.lcrec.LCRec`.

    What else reads texts, to make codes of them, is not tuned.
    """

    tunes_items: ClassVar[bool] = False

    @property
    def reads_catalogue(self) -> bool:
        """Also where titles are learnt."""
        return super().reads_catalogue or bool(self._others)

    def make_model(self, schema: Schema, reading: Reading | None = None) -> SequenceModel:
        """The model over a schema; without ``reading`` it has no weights."""
        titles: list[str] = []
        if reading is not None and self._others and not reading.restoring:
            titles = render_template(reading.catalogue, plain(self.cfg.model)["title"])
        live: dict[str, Any] = {"load_words": words_loader(meta=reading is None), "titles": titles}
        model = self._build("model", schema=schema, **live)
        assert isinstance(model, SequenceModel)
        adapted = attach(model, self.adapter, pretrained=False)
        if reading is not None:
            reading.tuned = adapted
        return model

    def before(self, loaded: AuditedLog, folder: str) -> Before:
        """None. Raises UserError."""
        raise UserError(
            "method.run: a model that asks a language model cannot go on with other data: train "
            "it anew."
        )

    @property
    def _others(self) -> list[str]:
        """Tasks beside the next item."""
        return [task for task in plain(self.cfg.model).get("tasks", []) if task != "seq"]
