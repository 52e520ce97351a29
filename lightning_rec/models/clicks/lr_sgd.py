"""LR by gradient steps: the same function as ``LR``, trained as deep models are.

Richardson et al., Predicting Clicks: Estimating the Click-Through Rate for New Ads, WWW 2007.
"""

from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import ClickModel, FirstOrder


class GradientLR(ClickModel):
    """z = b + sum of the weights of what a row has (equation 1).

    With few passes over the rows Adam moves the weight of a rare category as far as that of a
    frequent one, and the order suffers: where all rows can be read at once, ``LR`` is better. This
    one can stand over texts and encoders.
    """

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__(schema)
        self.linear = FirstOrder(schema)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        return self.linear(rows)
