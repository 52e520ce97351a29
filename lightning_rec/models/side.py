"""What is known of events and users, added to the vectors of a history's items.

Shapes: B histories, L items, D = dim, F columns of events, G of users, S rows of a table.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.side import Columns
from lightning_rec.data.split import Histories


class ColumnVectors(nn.Module):
    """The sum of the learnt vectors of what columns say, each less the mean of its column.

    The mean is over the training: what is missing, or was not met there, is as the mean and adds
    nothing. All vectors start as 0, so that a model starts as it does without columns.
    """

    shares: Tensor
    column: Tensor

    def __init__(self, dim: int, columns: Columns) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(columns.size, dim))
        # How often each row was met in training, of all events or users, at [column, row].
        self.register_buffer("shares", torch.zeros(len(columns), columns.size))
        owner = [0, *(place for place, each in enumerate(columns) for _ in range(each.size))]
        self.register_buffer("column", torch.tensor(owner), persistent=False)

    def met(self, share: Tensor) -> None:
        """Take how often each row was met, float [S], 0 for what is missing."""
        for place in range(len(self.shares)):
            own = share * (self.column == place)
            own[0] = 0
            self.shares[place] = own / own.sum().clamp(min=1e-12)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of the table, int64 [..., F], 0 for what is missing -> float [..., D]."""
        centred = self.table - (self.shares @ self.table)[self.column]
        flat = rows.reshape(-1, rows.shape[-1])
        summed = functional.embedding_bag(flat, centred, mode="sum", padding_idx=0)
        return summed.view(*rows.shape[:-1], -1)


class Side(nn.Module):
    """Adds what columns say to the vectors of a history; without columns of events or of users
    there is no part of it.
    """

    def __init__(self, dim: int, events: Columns, users: Columns) -> None:
        super().__init__()
        self.of_events, self.of_users = events, users
        self.events = ColumnVectors(dim, events) if events else None
        self.users = ColumnVectors(dim, users) if users else None

    @property
    def columns(self) -> dict[str, list[dict[str, Any]]]:
        """The columns as plain values."""
        return {"events": self.of_events.plain(), "users": self.of_users.plain()}

    def forward(self, vectors: Tensor, histories: Histories, padding: int) -> Tensor:
        """Vectors of items, float [B, L, D] -> the same with what else is known of each event."""
        if self.events is not None and histories.events is not None:
            vectors = vectors + self.events(histories.events)
        if self.users is not None and histories.about is not None:
            real = (histories.items != padding)[:, :, None]
            vectors = vectors + self.users(histories.about)[:, None] * real
        return vectors
