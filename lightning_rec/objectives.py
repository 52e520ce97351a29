"""Objectives: how a sequence becomes inputs and targets, and how it becomes a question."""

from typing import Annotated, ClassVar, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from lightning_rec.data.split import Schema

Share = Annotated[float, Field(ge=0, le=1)]


class Lesson(NamedTuple):
    """What a model is shown and what it must say.

    inputs: int64 [B, L] item codes, some of them the mask.
    at: bool [B, L], True where something is to be predicted.
    targets: int64 [M] item codes, in the order of the True places of ``at``.
    """

    inputs: Tensor
    at: Tensor
    targets: Tensor


class Objective(Protocol):
    """Turns item sequences into lessons while training, and into questions afterwards."""

    name: ClassVar[str]

    def lesson(self, items: Tensor, schema: Schema) -> Lesson:
        """Make inputs and targets of ``items`` (int64 [B, L], padded on the left)."""
        ...

    def question(self, items: Tensor, schema: Schema) -> Tensor:
        """Make the input whose last place asks for the next item: int64 [B, L']."""
        ...


class MaskedItem:
    """Hide some items and predict them from both sides (BERT4Rec, section 3.6: the Cloze task).

    Args:
        mask_prob: chance of each item to be hidden; every hidden item becomes the mask.
        mask_last: share of sequences where the last item alone is hidden, as it is when the model
            is asked for the next one. The paper adds such samples; implementations that forgot
            them lost much of its quality (RecBole issue 1530).
    """

    name: ClassVar[str] = "masked_item"

    def __init__(
        self, mask_prob: Annotated[float, Field(gt=0, lt=1)] = 0.2, mask_last: Share = 0.1
    ) -> None:
        self.mask_prob, self.mask_last = mask_prob, mask_last

    def lesson(self, items: Tensor, schema: Schema) -> Lesson:
        """Hide at least one item of each sequence. Draws from torch's global generator."""
        batch, device = len(items), items.device
        real = items != schema.padding
        hidden = real & (torch.rand(items.shape, device=device) < self.mask_prob)
        last_only = torch.rand(batch, device=device) < self.mask_last
        last_only |= ~hidden.any(dim=1)
        hidden[last_only] = False
        hidden[last_only, -1] = True
        return Lesson(items.masked_fill(hidden, schema.mask), hidden, items[hidden])

    def question(self, items: Tensor, schema: Schema) -> Tensor:
        """Append the mask, and let the oldest item go if the window is full."""
        mask = items.new_full((len(items), 1), schema.mask)
        return torch.cat([items, mask], dim=1)[:, -schema.max_len :]


class ClosedForm:
    """No lesson at all: the model is fitted by counting or solving, in one pass."""

    name: ClassVar[str] = "closed_form"

    def lesson(self, items: Tensor, schema: Schema) -> Lesson:
        """Always raises: there are no gradient steps."""
        raise TypeError("a model fitted in closed form takes no gradient steps")

    def question(self, items: Tensor, schema: Schema) -> Tensor:
        """Pass the history on as it is."""
        return items
