"""Any sequence model as the encoder of histories, for any click model over its output.

What it makes of a history joins the fields of the click model, the head, as one more. Shapes:
B rows, L items, Q = width of the encoder's queries.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.blocks import encode
from lightning_rec.models.clicks.parts import ClickModel

BLOCK_TOKENS = 4096  # positions encoded at once on a CPU
NAME = "encoded history"  # of the field

Ask = Callable[[Histories, Schema], tuple[Histories, Tensor]]
"""How a model is asked for the next item: its query inputs; positions are int64 [B]."""


class HistoryEncoder(nn.Module):
    """Histories -> the queries that a sequence model would score their next items with.

    Args:
        model: the sequence model; its item table is its own.
        ask: makes query inputs of histories.
        codes: int64 [V + 1], the model's code of each item of the rows, its padding where it has
            none, and padding for padding; None where the codes are the same. Items it does not know
            are left out.
        width: Q; None to find out by asking.
    """

    codes: Tensor | None

    def __init__(
        self, model: SequenceModel, ask: Ask, codes: Tensor | None = None, width: int | None = None
    ) -> None:
        super().__init__()
        self.model, self.ask = model, ask
        self.register_buffer("codes", codes)
        self.nothing = nn.Parameter(torch.zeros(width or width_of(model, ask)))

    def forward(self, histories: Histories) -> Tensor:
        """Float [B, Q]; a vector of its own stands for a history without items."""
        padding = self.model.schema.padding
        items = histories.items
        if self.codes is not None:
            items = self.codes[items]
            # Moved to the left over what is padding among them.
            gaps, order = (items == padding).to(torch.int8).sort(dim=1, stable=True)
            longest = max(1, int((gaps == 0).sum(dim=1).max()))
            items = items.gather(1, order[:, :longest])
        mask = (items != padding).any(dim=1)
        encoded = self.nothing.expand(len(items), -1)
        if not mask.any():
            return encoded
        inputs = self.ask(Histories(items[mask], histories.user[mask]), self.model.schema)
        tokens = BLOCK_TOKENS if items.device.type == "cpu" else None
        queries = encode(self.model, *inputs, tokens)
        return encoded.index_put((mask.nonzero()[:, 0],), queries.to(encoded.dtype))

    def score(self, histories: Histories, items: Tensor) -> Tensor:
        """The model's score of an item of each row after its history, NaN for an unknown one.

        ``items``: int64 [B], codes as those of the histories; -1 for an unknown one. Returns float
        [B, 1].
        """
        padding = self.model.schema.padding
        if self.codes is not None:
            items = self.codes[items]  # the last one, that of padding, for -1
        known = (items >= 0) & (items != padding)
        scores = self.model.scores(self(histories), items.masked_fill(~known, 0)[:, None])
        return scores.masked_fill(~known[:, None], torch.nan)

    def train(self, mode: bool = True) -> "HistoryEncoder":
        """A model of which nothing is tuned drops nothing either."""
        super().train(mode)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            self.model.eval()
        return self


class WithHistory(ClickModel):
    """A head over :func:`with_field` of a schema, which reads what an encoder makes of history."""

    reads_history = True

    def __init__(self, encoder: HistoryEncoder, head: ClickModel) -> None:
        super().__init__(head.schema, head)
        self.encoder, self.head = encoder, head
        self.item = head.schema.place(str(head.schema.item))
        self.first = head.schema.fields[self.item].start + 1  # the row of the first known item

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G] of several goals."""
        assert rows.history is not None
        if self.head.reads_scores:
            encoded = self.encoder.score(rows.history, rows.ids[:, self.item].long() - self.first)
        else:
            encoded = self.encoder(rows.history)
        return self.head(rows._replace(encoded=encoded))


def with_field(schema: ClickSchema, width: int) -> ClickSchema:
    """The schema with one field more: what an encoder of this width makes of the history."""
    return schema._replace(fields=(*schema.fields, Field(NAME, "encoded", 0, 0, 0, width)))


@torch.no_grad()
def width_of(model: SequenceModel, ask: Ask) -> int:
    """How wide the queries of a model are: Q."""
    device = next(model.parameters()).device
    shown = torch.zeros(1, 1, dtype=torch.int64, device=device)
    mode = model.training
    asked = ask(Histories(shown, shown[0]), model.schema)
    width = int(model.eval()(*asked).shape[1])
    model.train(mode)
    return width
