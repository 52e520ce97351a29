"""Objectives: how a sequence becomes inputs and targets, and how it becomes a question."""

from typing import Annotated, ClassVar, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema

Share = Annotated[float, Field(ge=0, le=1)]


class Lesson(NamedTuple):
    """What a model is shown and what it must say.

    histories: the inputs, int64 [B, L] item codes, some of them perhaps the mask.
    at: bool [B, L], True where something is to be predicted.
    targets: int64 [M] item codes, in the order of the True places of ``at``.
    """

    histories: Histories
    at: Tensor
    targets: Tensor


class Question(NamedTuple):
    """What a model is asked: the item that comes next.

    histories: the inputs.
    at: int64 [B], the place of each row whose query scores the next item.
    """

    histories: Histories
    at: Tensor


class Objective(Protocol):
    """Turns histories into lessons while training, and into questions afterwards."""

    name: ClassVar[str]

    def window(self, max_len: int) -> int:
        """Items that a training window needs, for a model that reads ``max_len`` at once."""
        ...

    def lesson(self, histories: Histories, schema: Schema) -> Lesson:
        """Make inputs and targets of training windows."""
        ...

    def question(self, histories: Histories, schema: Schema) -> Question:
        """Ask for the item after each history (none of them empty, none above ``max_len``)."""
        ...


def _last(items: Tensor, padding: int) -> Tensor:
    """Place of the latest item of each row: int64 [B]."""
    return (items != padding).sum(dim=1) - 1


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

    def window(self, max_len: int) -> int:
        """What is hidden is one of the items that are read."""
        return max_len

    def lesson(self, histories: Histories, schema: Schema) -> Lesson:
        """Hide at least one item of each sequence. Draws from torch's global generator."""
        items = histories.items
        rows = torch.arange(len(items), device=items.device)
        hidden = torch.rand(items.shape, device=items.device) < self.mask_prob
        hidden &= items != schema.padding
        last_only = torch.rand(len(items), device=items.device) < self.mask_last
        last_only |= ~hidden.any(dim=1)
        hidden &= ~last_only[:, None]
        hidden[rows, _last(items, schema.padding)] |= last_only
        shown = items.masked_fill(hidden, schema.mask)
        return Lesson(histories._replace(items=shown), hidden, items[hidden])

    def question(self, histories: Histories, schema: Schema) -> Question:
        """Append the mask, and let the oldest item go where the window is full."""
        items = histories.items
        length = _last(items, schema.padding) + 1
        let_go = (length >= schema.max_len).long()
        width = min(items.shape[1] + 1, schema.max_len)
        places = torch.arange(width, device=items.device) + let_go[:, None]  # [B, L']
        shown = items.gather(1, places.clamp(max=items.shape[1] - 1))
        at = length - let_go
        shown[torch.arange(width, device=items.device) > at[:, None]] = schema.padding
        shown[torch.arange(len(items), device=items.device), at] = schema.mask
        return Question(histories._replace(items=shown), at)


class NextItem:
    """At each place, predict the item that follows (SASRec, section 3.5)."""

    name: ClassVar[str] = "next_item"

    def window(self, max_len: int) -> int:
        """The last item of a window is a target only."""
        return max_len + 1

    def lesson(self, histories: Histories, schema: Schema) -> Lesson:
        """Inputs are all items but the last, targets all but the first."""
        following = histories.items[:, 1:]
        at = following != schema.padding
        shown = histories.items[:, :-1].masked_fill(~at, schema.padding)
        return Lesson(histories._replace(items=shown), at, following[at])

    def question(self, histories: Histories, schema: Schema) -> Question:
        """Ask at the latest item."""
        return Question(histories, _last(histories.items, schema.padding))


class UserItem:
    """Predict each item from its user alone, order left out (matrix factorisation)."""

    name: ClassVar[str] = "user_item"

    def window(self, max_len: int) -> int:
        """Each event is a window of its own, so that a batch is a random set of events."""
        return 1

    def lesson(self, histories: Histories, schema: Schema) -> Lesson:
        """The item is the target; the model may look at the user only."""
        at = histories.items != schema.padding
        hidden = torch.full_like(histories.items, schema.padding)
        return Lesson(histories._replace(items=hidden), at, histories.items[at])

    def question(self, histories: Histories, schema: Schema) -> Question:
        """Ask for the user."""
        return Question(histories, _last(histories.items, schema.padding))


class ClosedForm:
    """No lesson at all: the model is fitted by counting or solving, in one pass."""

    name: ClassVar[str] = "closed_form"

    def window(self, max_len: int) -> int:
        """Of no consequence."""
        return max_len

    def lesson(self, histories: Histories, schema: Schema) -> Lesson:
        """Always raises: there are no gradient steps."""
        raise TypeError("a model fitted in closed form takes no gradient steps")

    def question(self, histories: Histories, schema: Schema) -> Question:
        """Pass the history on as it is."""
        return Question(histories, _last(histories.items, schema.padding))
