"""The masked-item objective of BERT4Rec."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.objectives.base import Objective, QueryInputs, TrainingInputs, latest
from lightning_rec.ranges import UpToOne


@dataclass(eq=False)
class MaskedItem(Objective):
    """Hide some items and predict them from both sides (BERT4Rec, section 3.6: the Cloze task).

    Args:
        mask_prob: chance of each item to be hidden; every hidden item becomes the mask.
        mask_last: share of sequences where the last item alone is hidden, as it is when the model
            is asked for the next one. The paper adds such samples; implementations that forgot
            them lost much of its quality (RecBole issue 1530).
    """

    name: ClassVar[str] = "masked_item"
    mask_prob: Annotated[float, Field(gt=0, lt=1)] = 0.2
    mask_last: UpToOne = 0.1

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """Hide at least one item of each sequence, of those that may be targets. Draws from torch's
        global generator.
        """
        items = histories.items
        rows = torch.arange(len(items), device=items.device)
        hidden = torch.rand(items.shape, device=items.device) < self.mask_prob
        last = latest(items, schema.padding)
        if histories.learnt is None:
            hidden &= items != schema.padding
        else:
            hidden &= histories.learnt
            place = torch.arange(items.shape[1], device=items.device)
            last = (place * histories.learnt).amax(dim=1)
        last_only = torch.rand(len(items), device=items.device) < self.mask_last
        last_only |= ~hidden.any(dim=1)
        hidden &= ~last_only[:, None]
        hidden[rows, last] |= last_only
        return TrainingInputs(hide(histories, hidden, schema), hidden, items[hidden])

    def query_inputs(self, histories: Histories, schema: Schema) -> QueryInputs:
        """Append the mask, and drop the oldest item where the window is full."""
        return append_mask(histories, schema)


def hide(histories: Histories, hidden: Tensor, schema: Schema) -> Histories:
    """Put the mask in place of what is ``hidden``, bool [B, L]."""
    events = histories.events  # those of what is hidden would tell it
    if events is not None:
        events = events.masked_fill(hidden[..., None], 0)
    shown = histories.items.masked_fill(hidden, schema.mask)
    return histories._replace(items=shown, events=events, learnt=None)


def append_mask(histories: Histories, schema: Schema) -> QueryInputs:
    """Append the mask, and drop the oldest item where the window is full."""
    items = histories.items
    length = latest(items, schema.padding) + 1
    dropped = (length >= schema.max_len).long()
    # A condition, not min(): an exported model is told which lengths there are, and that holds.
    width = items.shape[1] + 1 if items.shape[1] < schema.max_len else schema.max_len
    index = torch.arange(width, device=items.device)
    place = (index + dropped[:, None]).clamp(max=items.shape[1] - 1)
    shown, events = items.gather(1, place), histories.events
    positions = length - dropped
    shown[index > positions[:, None]] = schema.padding
    shown[torch.arange(len(items), device=items.device), positions] = schema.mask
    if events is not None:
        moved = events.gather(1, place[..., None].expand(-1, -1, events.shape[2]))
        events = moved.masked_fill((index >= positions[:, None])[..., None], 0)
    return QueryInputs(histories._replace(items=shown, events=events), positions)
