"""Popularity: recommend to everyone what was bought most."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_rec.data.split import Schema


class Popularity(nn.Module):
    """Scores each item by its number of training events; the floor under every other model."""

    objectives: ClassVar[tuple[str, ...]] = ("closed_form",)
    counts: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.register_buffer("counts", torch.zeros(schema.num_items))

    def fit(self, train_counts: Tensor) -> None:
        """Remember ``train_counts``, int64 [num_items]."""
        self.counts.copy_(train_counts)

    def forward(self, items: Tensor) -> Tensor:
        """Everyone is alike: int64 [B, L] -> ones [B, L, 1]."""
        return torch.ones(*items.shape, 1, device=self.counts.device)

    def scores(self, hidden: Tensor) -> Tensor:
        """Counts for everyone: float [..., 1] -> [..., num_items]."""
        return hidden * self.counts
