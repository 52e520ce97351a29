"""Negatives: items drawn to be scored against the target, whole batches at once."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions

REDRAWS = 5  # of draws that hit an item of the user; those that are left are masked

Shared = Literal["batch", "sequence", "none"]


class Drawn(NamedTuple):
    """Negatives of M queries.

    items: int64 [n], for all queries of the batch; [B, n], for those of each sequence; or [M, n].
    usable: bool, [M, n] or of the shape of ``items``: False where a draw is an item of the user.
    """

    items: Tensor
    usable: Tensor


class Negatives:
    """Draws items by a power of their popularity, never one that the user has in training.

    Args:
        train_counts: int64 [num_items], training events of each item.
        number: how many for each query.
        shared: ``batch``: one draw for all queries; ``sequence``: one for the queries of a
            sequence; ``none``: one for each query.
        popularity: power of the training counts that draws follow; 0 draws uniformly.
        positives: let items that the user has in training be drawn too. A target is never its own
            negative all the same.
    """

    def __init__(
        self, train_counts: Tensor, number: int, shared: Shared, popularity: float, positives: bool
    ) -> None:
        num_items = len(train_counts)
        if number >= num_items:
            raise UserError(
                f"loss.negatives={number}, but there are only {num_items:,} items: draw fewer, or "
                "use loss=full_softmax, which scores them all."
            )
        self.number, self.shared, self.positives = number, shared, positives
        self.num_items, self.uniform = num_items, popularity == 0
        share = train_counts.double() ** popularity
        self.log_share = (share / share.sum()).log().float()  # [num_items]
        self.edges = (share.cumsum(0) / share.sum())[:-1]

    def draw(self, predictions: Predictions) -> Drawn:
        """Draw for all queries at once, from torch's global generator."""
        device = predictions.targets.device
        leading = {
            "batch": (),
            "sequence": (predictions.rows,),
            "none": (len(predictions.targets),),
        }[self.shared]
        items = self._sample((*leading, self.number), device)
        if self.positives:
            owned = torch.zeros(items.shape, dtype=torch.bool, device=device)
        else:
            items, owned = self._without_positives(items, predictions)
        if self.shared != "none":
            own = items if self.shared == "batch" else items[predictions.row]
            if self.shared == "sequence":
                owned = owned[predictions.row]
        else:
            own = items
        return Drawn(items, ~owned & (own != predictions.targets[:, None]))

    def log_expected(self, items: Tensor) -> Tensor:
        """Log of how often each item is expected among the draws of one query, like ``items``."""
        return self.log_share.to(items.device)[items] + float(torch.tensor(self.number).log())

    def _sample(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        if self.uniform:
            return torch.randint(self.num_items, shape, device=device)
        chance = torch.rand(shape, dtype=torch.float64, device=device)
        return torch.searchsorted(self.edges.to(device), chance, right=True)

    def _without_positives(self, items: Tensor, p: Predictions) -> tuple[Tensor, Tensor]:
        """Redraw what the user has in training; say what could not be redrawn."""
        keys = (p.seen_row * self.num_items + p.seen_item).sort().values
        if self.shared == "batch":  # no item suits everyone: each sequence masks its own
            rows = torch.arange(p.rows, device=items.device)
            return items, self._owned(items.expand(p.rows, -1), rows, keys)[p.row]
        rows = torch.arange(p.rows, device=items.device) if self.shared == "sequence" else p.row
        owned = self._owned(items, rows, keys)
        for _ in range(REDRAWS):
            row, column = owned.nonzero(as_tuple=True)
            if not len(row):
                break
            items[row, column] = self._sample((len(row),), items.device)
            owned[row, column] = self._owned(items[row, column, None], rows[row], keys)[:, 0]
        return items, owned

    def _owned(self, items: Tensor, rows: Tensor, keys: Tensor) -> Tensor:
        """Whether each item, int64 [R, n], is among its row's, given sorted keys: bool [R, n]."""
        wanted = rows[:, None] * self.num_items + items
        place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        return keys[place] == wanted if len(keys) else torch.zeros_like(wanted, dtype=torch.bool)
