"""The objective of autoencoders of histories."""

from typing import ClassVar

import torch

from lightning_rec.data.split import Histories, Schema
from lightning_rec.needs import Need
from lightning_rec.objectives.base import Objective, TrainingInputs, latest


class Reconstruction(Objective):
    """Predict the items of a history from the same history, order left out (Mult-VAE).

    One query for each history, at its latest item, has all items as its targets; of several
    behaviors the whole history is shown, and those that may be targets are predicted.
    """

    name: ClassVar[str] = "reconstruction"
    needs: ClassVar[tuple[Need, ...]] = (
        Need("loss", "of_sets", "has a set of items as the target of a query"),
    )

    def training_inputs(self, histories: Histories, schema: Schema) -> TrainingInputs:
        """Inputs are whole histories, targets their items: int64 [B, L]."""
        items, targets = histories.items, histories.items
        if histories.learnt is not None:
            targets = items.masked_fill(~histories.learnt, schema.padding)
        place = torch.arange(items.shape[1], device=items.device)
        positions = place == latest(items, schema.padding)[:, None]
        return TrainingInputs(histories._replace(learnt=None), positions, targets)
