"""The multinomial likelihood of sets of items."""

from typing import ClassVar

from torch import Tensor

from lightning_rec.data.split import Split
from lightning_rec.losses.base import Loss, Predictions
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.layers import distinct
from lightning_rec.needs import Need


class Multinomial(Loss):
    """Minus the log-likelihood of a set of items, all drawn from one softmax over the catalogue.

    Of a user the sum over the items, each once; of a batch the mean over the users (Liang et al.,
    WWW 2018, equation 2 with binary x).

    Args:
        split: whose items without training events are left out; None leaves none out.
    """

    kind: ClassVar[str] = "sequences"
    of_sets: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = (
        Need("objective", ("reconstruction",), "is the likelihood of a set of items"),
    )

    def __init__(self, split: Split | None = None) -> None:
        super().__init__()
        self.trained = None if split is None else split.num_trained

    def per_target(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Float [M], for targets int64 [M, n], padded; repeated ones count once."""
        padding = model.schema.padding
        targets = distinct(predictions.targets, padding)
        there = targets != padding
        scores = model.scores(predictions.queries)[:, : self.trained].float()
        chosen = scores.gather(1, targets.masked_fill(~there, 0)) * there
        return there.sum(dim=1) * scores.logsumexp(dim=1) - chosen.sum(dim=1)
