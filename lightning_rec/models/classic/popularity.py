"""Popularity: rank items by their number of training events, all of them or recent ones."""

import numpy as np
import torch
from pydantic import PositiveFloat
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import training_events

DAY = 86_400  # seconds


class Popularity(InnerProduct):
    """Scores each item by its number of training events; the floor under every other model."""

    objectives = ("closed_form",)
    needs_order = False
    counts: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("counts", torch.zeros(schema.num_items))

    def fit(self, split: Split) -> None:
        """Count the training events of each item."""
        self.counts.copy_(torch.from_numpy(split.train_counts.copy()))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The same query for all users: ones [M, 1]."""
        queries = int(positions.sum()) if positions.dtype == torch.bool else len(positions)
        return torch.ones(queries, 1, device=self.counts.device)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The count is the only number of an item: float [n, 1]."""
        counts = self.counts if items is None else self.counts[items]
        return ItemVectors(counts[:, None], None)


class RecentPopularity(Popularity):
    """Popularity whose events fade: what is hot now, the time of the last training event.

    An event of age t days counts 2^(-t / half_life). ``counts`` holds the binary logarithm of
    their sum: it ranks alike, and items of long ago do not all become zero, which would tie them.

    ``half_life``: days in which an event loses half its weight.
    """

    def __init__(self, schema: Schema, half_life: PositiveFloat = 30.0) -> None:
        super().__init__(schema)
        self.half_life = half_life

    def fit(self, split: Split) -> None:
        """Add up the faded events of each item. Raises UserError where events have no times."""
        if split.times is None:
            raise UserError(
                "model=recent_popularity needs the time of each event and this data has none: "
                "set data.time to the column that holds it, or use model=popularity."
            )
        _, position = training_events(split)
        item, time = split.items[position], split.times[position]
        half_lives = (time - time.max()) / (DAY * self.half_life)  # 0 for now, negative before
        latest = np.full(split.num_items, -np.inf)
        np.maximum.at(latest, item, half_lives)
        # Relative to the item's own latest event, so that nothing underflows.
        share = np.bincount(item, np.exp2(half_lives - latest[item]), split.num_items)
        with np.errstate(divide="ignore"):  # an item without events: -inf
            self.counts.copy_(torch.from_numpy(np.log2(share) + latest))
