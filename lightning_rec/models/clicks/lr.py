"""LR: logistic regression over categories and numbers.

Richardson et al., Predicting Clicks: Estimating the Click-Through Rate for New Ads, WWW 2007.
"""

from torch import Tensor

from lightning_rec.data.clicks.batches import Rows
from lightning_rec.data.clicks.fields import ClickSchema
from lightning_rec.models.clicks.parts import ClickModel, FirstOrder


class LR(ClickModel):
    """z = b + sum of the weights of what a row has (equation 1).

    Args:
        schema: the fields.
    """

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__(schema)
        self.linear = FirstOrder(schema)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        logits: Tensor = self.linear(rows)
        return logits
