"""The objective of models that know users and not sequences."""

from typing import ClassVar

import torch

from lightning_rec.data.split import Histories, Schema
from lightning_rec.objectives.base import Objective, TrainingInputs


class UserItem(Objective):
    """Predict each item from its user alone, order left out (matrix factorisation)."""

    name: ClassVar[str] = "user_item"

    def window(self, max_len: int) -> int:
        """Each event is a window of its own, so that a batch is a random set of events."""
        return 1

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """The item is the target; the model may look at the user only."""
        positions = histories.items != schema.padding
        if histories.learnt is not None:
            positions &= histories.learnt
        hidden = torch.full_like(histories.items, schema.padding)
        targets = histories.items[positions]
        inputs = histories._replace(items=hidden, events=None, learnt=None)
        return TrainingInputs(inputs, positions, targets)
