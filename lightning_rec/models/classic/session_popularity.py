"""The popular in the session: what was looked at most in it, then what is popular at large.

S-POP, the baseline of Hidasi et al., Session-based recommendations with recurrent neural networks,
ICLR 2016, arXiv:1511.06939, as in the code of GRU4Rec and session-rec. M queries, V = num_items.
"""

import numpy as np
import torch
from torch import Tensor

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.classic.parts import past, pick


class SessionPopularity(SequenceModel):
    """The score of an item is its number of events in the session, ties broken by popularity.

    The paper adds n / (n + 1), with n the item's training events. What is added here ranks alike
    and is below 1 as well, but is told apart in 32 bits however many events there are.
    """

    objectives = ("closed_form",)
    needs_order = False
    popular: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema)
        self.register_buffer("popular", torch.zeros(schema.num_items))

    def fit(self, split: Split) -> None:
        """Order the items by their number of training events."""
        numbers, rank = np.unique(split.train_counts, return_inverse=True)
        self.popular.copy_(torch.from_numpy(rank / len(numbers)))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Events of each item in the session so far: float [M, V]."""
        items, mask, _ = past(histories, positions, self.schema.num_items)
        counts = torch.zeros(len(items), self.schema.num_items, device=items.device)
        return counts.scatter_add_(1, items.masked_fill(~mask, 0), mask.float())

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Counts plus a share of popularity; see :meth:`SequenceModel.scores`."""
        if items is None:
            return queries + self.popular
        return pick(queries, items) + self.popular[items]
