"""The objective of models that know users and not sequences."""

from typing import ClassVar

import torch

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.objectives.base import QueryInputs, TrainingInputs, latest


class UserItem:
    """Predict each item from its user alone, order left out (matrix factorisation)."""

    name: ClassVar[str] = "user_item"
    kind: ClassVar[str] = "sequences"

    def window(self, max_len: int) -> int:
        """Each event is a window of its own, so that a batch is a random set of events."""
        return 1

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """The item is the target; the model may look at the user only."""
        at = histories.items != schema.padding
        hidden = torch.full_like(histories.items, schema.padding)
        return TrainingInputs(histories._replace(items=hidden), at, histories.items[at])

    def query_inputs(self, histories: Histories, schema: Schema) -> QueryInputs:
        """Ask for the user."""
        return QueryInputs(histories, latest(histories.items, schema.padding))
