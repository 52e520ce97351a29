"""Temperature scaling: a click model whose logits are divided by a number fitted after training.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599.
"""

import torch
from torch import Tensor
from torch.nn import functional

from lightning_rec.data.clicks.schema import Rows
from lightning_rec.models.clicks.parts import ClickModel

BOUND = 1e3  # temperatures are sought between its inverse and this
STEPS = 100  # of a bisection


class Calibrated(ClickModel):
    """z / T, with one T for each goal; while training, and until T is fitted, z alone.

    The order of rows is that of the model.
    """

    temperature: Tensor

    def __init__(self, model: ClickModel, goals: int) -> None:
        super().__init__(model.schema, model)
        self.model = model
        self.register_buffer("temperature", torch.ones(goals))

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B], or [B, G] of several goals."""
        logits: Tensor = self.model(rows)
        if self.training:
            return logits
        return logits / (self.temperature if logits.dim() > 1 else self.temperature[0])


def fitted_temperature(logit: Tensor, label: Tensor) -> float:
    """The temperature with the lowest logloss of some rows: float [n], 0 or 1 [n].

    The logloss of z b is convex in b = 1/T: its slope is followed to 0 by bisection.
    """
    z, y = logit.double(), label.double()

    def slope(b: float) -> float:
        return float(((torch.sigmoid(z * b) - y) * z).mean())

    low, high = 1 / BOUND, BOUND
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(1 / (low * high) ** 0.5)


def after(first: Tensor, both: Tensor) -> Tensor:
    """The logit of b given a, of the logits of a and of both: float [n] -> float64 [n].

    Where both seem more likely than the first alone, b is all but certain.
    """
    log_p = functional.logsigmoid(both.double()) - functional.logsigmoid(first.double())
    log_p = log_p.clamp(max=-1e-9)
    return log_p - torch.log(-torch.expm1(log_p))
