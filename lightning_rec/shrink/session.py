"""Modules that stand for trained ones and have an ONNX file computed in their place.

Put into a predictor, or into the task of an evaluation, all that these answer comes by the file.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import Rows
from lightning_rec.data.split import Histories, Schema
from lightning_rec.files import sha256_file
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokens
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.needs import Need
from lightning_rec.objectives.base import Objective, TrainingInputs
from lightning_rec.shrink.onnx import Session
from lightning_rec.shrink.tables import ItemTable


class AsTheyAre(Objective):
    """Asks for the item after a history with the history alone: the file does the rest."""

    name: ClassVar[str] = "as they are"

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """A file is not trained."""
        raise NotImplementedError


class FileQueries(InnerProduct):
    """A model of sequences: queries by a file, items by a table."""

    objectives = (AsTheyAre.name,)

    def __init__(self, path: Path, schema: Schema, table: ItemTable, biased: bool) -> None:
        super().__init__(schema)
        self.session, self.table, self.biased = Session(path), table, biased

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Float [B, Q]; ``positions`` are the latest ones, which the file finds itself."""
        made = self.session({"history": histories.items})
        return made[:, :-1] if self.biased else made

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Those of the table, its last column the biases if it has any."""
        rows = self.table.rows(items)
        return ItemVectors(rows[:, :-1], rows[:, -1]) if self.biased else ItemVectors(rows, None)


class FileClicks(ClickModel):
    """A model of clicks; its temperature is in the file."""

    needs: ClassVar[tuple[Need, ...]] = ()

    def __init__(self, path: Path, model: ClickModel) -> None:
        super().__init__(model.schema, model)
        self.session = Session(path)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G]."""
        logits = self.session({"ids": rows.ids, "values": rows.values})
        return logits if self.multi_task else logits[:, 0]


class FileTexts(nn.Module):
    """What a file makes of texts, in place of a language model's encoder.

    ``fingerprint``: of the file, by which caches of vectors are told apart.
    """

    def __init__(self, path: Path, text: TextEncoder) -> None:
        super().__init__()
        self.session = Session(path)
        self.width, self.pooling, self.normalize = text.width, text.pooling, text.normalize
        digest = torch.tensor(list(bytes.fromhex(sha256_file(path))), dtype=torch.uint8)
        self.fingerprint = nn.Parameter(digest, requires_grad=False)

    def forward(self, tokens: Tokens) -> Tensor:
        """A row for each of B texts."""
        kinds = tokens.kinds
        return self.session({"ids": tokens.ids, "mask": tokens.mask.long(), "kinds": kinds})


class FilePairs(FileTexts):
    """The same, for scores of pairs: one column."""

    def forward(self, tokens: Tokens) -> Tensor:
        """Scores, float [B, 1]."""
        return super().forward(tokens)[:, None]


def stand_in(holder: Any, path: Path, table: ItemTable | None = None) -> None:
    """Let a file compute in place of the model of a predictor or a task, which is changed.

    ``holder``: has a ``model``, and for sequences an ``objective``. ``table``: of the items of a
    model of sequences.
    """
    model = holder.model
    if isinstance(model, BiEncoder):
        model.text = FileTexts(path, model.text)  # type: ignore[assignment]
    elif isinstance(model, CrossEncoder):
        model.text = FilePairs(path, model.text)  # type: ignore[assignment]
        model.head = nn.Linear(1, 1).requires_grad_(False)  # hands on what the file has scored
        model.head.weight.fill_(1)
        model.head.bias.fill_(0)
    elif isinstance(model, ClickModel):
        holder.model = FileClicks(path, model).eval()
    else:
        assert isinstance(model, InnerProduct)
        assert table is not None
        biased = model.vectors().bias is not None
        holder.model = FileQueries(path, model.schema, table, biased).eval()
        holder.objective = AsTheyAre()
