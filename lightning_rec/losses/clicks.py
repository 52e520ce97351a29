"""Losses of click models: of a logit and a label, for each row and each goal."""

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.losses.base import Labelled, Loss
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.ranges import UpToOne


class LogLoss(Loss):
    """Binary cross-entropy: -log p(label), the negative log-likelihood."""

    kind = "clicks"

    def per_target(self, model: ClickModel, predictions: Labelled) -> Tensor:
        """Float [B]."""
        return F.binary_cross_entropy_with_logits(*predictions, reduction="none")


class WeightedLogLoss(LogLoss):
    """Binary cross-entropy with clicks weighted, for rare clicks (torch's ``pos_weight``).

    Probabilities come out too high by it: ``task.calibrate=temperature`` does not undo a shift.

    Args:
        pos_weight: what a row with label 1 counts for, where one with label 0 counts for 1.
    """

    def __init__(self, pos_weight: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.pos_weight = pos_weight

    def per_target(self, model: ClickModel, predictions: Labelled) -> Tensor:
        """Float [B]."""
        return super().per_target(model, predictions) * torch.where(
            predictions.label > 0.5, self.pos_weight, 1.0
        )


class FocalLoss(LogLoss):
    """-alpha_t (1 - p_t)^gamma log p_t (Lin et al., ICCV 2017, arXiv:1708.02002, equation 5).

    p_t is the probability of what came, alpha_t is alpha for clicks and 1 - alpha else.

    Args:
        gamma: how much less rows that are predicted well count; 0: no less.
        alpha: what a click counts for, and 1 - alpha any other row; None: 1 for each.
    """

    def __init__(self, gamma: NonNegativeFloat = 2.0, alpha: UpToOne | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha

    def per_target(self, model: ClickModel, predictions: Labelled) -> Tensor:
        """Float [B]."""
        logit, label = predictions
        # 1 - p_t, above 0: the slope of a power below 1 is infinite there.
        miss = torch.sigmoid(torch.where(label > 0.5, -logit, logit)).clamp(min=1e-12)
        each = miss**self.gamma * super().per_target(model, predictions)
        if self.alpha is None:
            return each
        return each * torch.where(label > 0.5, self.alpha, 1 - self.alpha)
