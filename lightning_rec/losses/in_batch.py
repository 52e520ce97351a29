"""Cross-entropy over the batch's own targets: what each asks for is what the others do not."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.split import Split
from lightning_rec.losses.base import Predictions, TorchLoss
from lightning_rec.losses.negatives import is_positive, positive_keys
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.layers import round_up

EVEN = 128  # queries and items scored come in multiples of it


class InBatch(TorchLoss):
    """Softmax over the targets of the batch, corrected for how likely each is there.

    Yi et al., Sampling-bias-corrected neural modeling for large corpus item recommendations,
    RecSys 2019 (equations 3 to 5). There a target counts as often as it occurs, and the log of its
    share p is subtracted. With ``distinct`` it counts once, and is there at all among M targets
    with 1 - (1 - p)^M, which is what has to be subtracted then. No item has to be read that the
    batch does not read anyway, which is what counts where items are read by a language model.

    Args:
        split: whose training events are counted, and avoided.
        log_q: subtract from each score the log of that probability.
        positives: let items that the user has in training count as negatives.
        distinct: let each item count once, however often it is a target of the batch.
    """

    kind = "sequences"
    share: Tensor
    keys: Tensor

    def __init__(
        self, split: Split, log_q: bool = True, positives: bool = False, distinct: bool = True
    ) -> None:
        super().__init__()
        self.log_q, self.positives, self.num_items = log_q, positives, split.num_items
        self.distinct = distinct
        counts = torch.from_numpy(np.asarray(split.train_counts, dtype=np.float64))
        share = (counts.clamp(min=1) / counts.sum()).float()
        self.register_buffer("share", share, persistent=False)
        keys = torch.zeros(0, dtype=torch.int64) if positives else positive_keys(split)
        self.register_buffer("keys", keys, persistent=False)

    def compared(self, model: SequenceModel, predictions: Predictions) -> tuple[Tensor, Tensor]:
        """Scores of the batch's distinct targets, float [M, n], and each one's own, int64 [M]."""
        items, index, counts = torch.unique(
            predictions.targets, return_inverse=True, return_counts=True
        )
        scores = model.scores(_even(predictions.queries), _even(items))
        scores = scores[: len(index), : len(items)]
        if not self.distinct:
            # As often as it is there; among those of its own query once.
            own = functional.one_hot(index, len(items)).bool()
            scores = scores + counts.log().expand_as(scores).masked_fill(own, 0)
            if self.log_q:
                scores = scores - self.share[items].log()
        elif self.log_q:
            chance = -torch.expm1(len(index) * torch.log1p(-self.share[items]))
            scores = scores - chance.log()
        if not self.positives:
            of_user = items.expand(len(predictions.user), -1)
            theirs = is_positive(self.keys, of_user, predictions.user, self.num_items)
            theirs = theirs[predictions.row].scatter(1, index[:, None], False)
            scores = scores.masked_fill(theirs, -torch.inf)
        return scores, index


def _even(rows: Tensor) -> Tensor:
    """Repeat the first row until there are a multiple of ``EVEN``: few shapes are compiled for."""
    missing = round_up(len(rows), EVEN) - len(rows)
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])
