"""Negatives: items drawn to be scored against the target, whole batches at once."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lightning_rec.data.batches import pairs
from lightning_rec.data.split import Split
from lightning_rec.errors import UserError
from lightning_rec.losses.base import Predictions

REDRAWS = 5  # of draws that hit an item of the user; those that are left are masked

Shared = Literal["batch", "sequence", "none"]


class Drawn(NamedTuple):
    """Negatives of M queries.

    items: int64 [n], for all queries of the batch; [B, n], for those of each sequence; or [M, n].
    valid: bool, [M, n] or of the shape of ``items``: False where a draw is an item of the user.
    """

    items: Tensor
    valid: Tensor


class Negatives(nn.Module):
    """Draws items by a power of their popularity, never one that the user has in training.

    Unless ``positives`` are let in, all pairs of user and item are kept, 8 bytes each; a target is
    never its own negative. Other arguments are those of
    :class:`~lightning_rec.losses.sampled.Sampled`.
    """

    keys: Tensor
    log_share: Tensor
    log_redrawn: Tensor
    edges: Tensor

    def __init__(
        self, split: Split, number: int, shared: Shared, popularity: float, positives: bool
    ) -> None:
        super().__init__()
        train_counts = torch.from_numpy(split.train_counts.copy())
        trained = split.num_trained
        if number >= trained:
            raise UserError(
                f"loss.negatives={number}, but there are only {trained:,} items: draw fewer, or "
                "use loss=full_softmax, which scores them all."
            )
        self.trained = trained
        self.number, self.shared, self.positives = number, shared, positives
        self.num_items, self.uniform = split.num_items, popularity == 0
        share = torch.where(train_counts > 0, train_counts.double() ** popularity, 0.0)
        keys = torch.zeros(0, dtype=torch.int64) if positives else positive_keys(split)
        redraws = 0 if positives or shared == "batch" else REDRAWS
        redrawn = _redrawn(keys, share / share.sum(), split.num_users, redraws)
        buffers = {
            "log_share": (share / share.sum()).log().float(),  # [num_items]
            "edges": (share.cumsum(0) / share.sum())[:-1],
            "keys": keys,
            "log_redrawn": redrawn.log().float(),  # [num_users]
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def draw(self, predictions: Predictions) -> Drawn:
        """Draw for all queries at once, from torch's global generator."""
        device = predictions.targets.device
        leading = {
            "batch": (),
            "sequence": (len(predictions.user),),
            "none": (len(predictions.targets),),
        }[self.shared]
        items = self._sample((*leading, self.number), device)
        if self.positives:
            positive = torch.zeros(items.shape, dtype=torch.bool, device=device)
        else:
            items, positive = self._without_positives(items, predictions)
        own = items
        if self.shared == "sequence":
            own, positive = items[predictions.row], positive[predictions.row]
        return Drawn(items, ~positive & (own != predictions.targets[:, None]))

    def log_expected(self, items: Tensor, predictions: Predictions) -> Tensor:
        """Log of how often an item is expected among the draws of a query that count.

        An item that the user has is drawn again, so that all others come more often than by their
        share: see :func:`_redrawn`.

        ``items``: int64 [n], for all queries, or [M, n], none of them the query's user's. Returns
        float [n], or [M, n] where draws are repeated.
        """
        expected = self.log_share[items] + math.log(self.number)
        if self.positives or self.shared == "batch":
            return expected
        return expected + self.log_redrawn[predictions.user[predictions.row], None]

    def _sample(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        if self.uniform:
            return torch.randint(self.trained, shape, device=device)
        chance = torch.rand(shape, dtype=torch.float64, device=device)
        return torch.searchsorted(self.edges, chance, right=True)

    def _without_positives(self, items: Tensor, p: Predictions) -> tuple[Tensor, Tensor]:
        """Redraw what the user has in training; say what could not be redrawn."""
        if self.shared == "batch":  # no item suits everyone: each sequence masks its own
            return items, self._is_positive(items.expand(len(p.user), -1), p.user)[p.row]
        user = p.user if self.shared == "sequence" else p.user[p.row]
        positive = self._is_positive(items, user)
        for _ in range(REDRAWS):
            row, column = positive.nonzero(as_tuple=True)
            if not len(row):
                break
            items[row, column] = self._sample((len(row),), items.device)
            positive[row, column] = self._is_positive(items[row, column, None], user[row])[:, 0]
        return items, positive

    def _is_positive(self, items: Tensor, user: Tensor) -> Tensor:
        return is_positive(self.keys, items, user, self.num_items)


def _redrawn(keys: Tensor, share: Tensor, num_users: int, redraws: int) -> Tensor:
    """How much more often than by its ``share`` an item comes that its user does not have.

    With m the share of all draws that hit items of the user, each of them drawn again up to R
    times, it is 1 + m + … + m^R: float64 [num_users]. ``keys``: as of :func:`positive_keys`.
    """
    user, item = keys // len(share), keys % len(share)
    mass = torch.zeros(num_users, dtype=torch.float64).index_add_(0, user, share[item])
    return sum((mass**power for power in range(1, redraws + 1)), torch.ones_like(mass))


def is_positive(positives: Tensor, items: Tensor, user: Tensor, num_items: int) -> Tensor:
    """Whether each item, int64 [R, n], is among its user's positives, int64 [R]: bool [R, n]."""
    keys = user[:, None] * num_items + items
    if not len(positives):
        return torch.zeros_like(keys, dtype=torch.bool)
    index = torch.searchsorted(positives, keys).clamp(max=len(positives) - 1)
    return positives[index] == keys


def positive_keys(split: Split) -> Tensor:
    """``user * num_items + item`` of all pairs in training, each once, sorted: int64 [S]."""
    user, item = pairs(split.items, np.asarray(split.offsets[:-1]), np.asarray(split.train_end))
    return torch.unique(user * split.num_items + item)
