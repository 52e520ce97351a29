"""The likelihood of a target, of models that give items probabilities by their codes."""

from typing import ClassVar

from torch import Tensor

from lightning_rec.losses.base import Loss, Predictions
from lightning_rec.models.base import SequenceModel
from lightning_rec.needs import Need


class Likelihood(Loss):
    """Minus the log-likelihood that a model gives the target, as the model scores it.

    Only of models whose score is one; whatever else was scored would grow without end.
    """

    kind: ClassVar[str] = "sequences"
    needs: ClassVar[tuple[Need, ...]] = (
        Need("model", "likelihood", "is for models whose score is a log-likelihood"),
    )

    def per_target(self, model: SequenceModel, predictions: Predictions) -> Tensor:
        """Float [M]."""
        return -model.scores(predictions.queries, predictions.targets[:, None])[:, 0]
