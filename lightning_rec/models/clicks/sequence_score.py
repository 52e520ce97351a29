"""A model of sequences as a model of clicks: how it scores the item shown after the history.

Shapes: B rows.
"""

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.needs import PRESENT, Need


class SequenceScore(ClickModel):
    """p = σ(a s + b), where s is the encoder's own score of the item shown, standardised.

    With a frozen encoder two numbers are learnt, which change no order: so a model of sequences is
    measured on the very rows that models of clicks are measured on. An item that the encoder does
    not know has a logit of its own. No field is read but the item.
    """

    needs = (
        *ClickModel.needs,
        Need(
            "encoder",
            PRESENT,
            "needs a model of sequences that scores the items",
            "say encoder.run=FOLDER adapter=frozen, or model@encoder.model=sasrec",
        ),
    )
    reads_scores = True

    def __init__(self, schema: ClickSchema) -> None:
        super().__init__(schema)
        self.standard = nn.BatchNorm1d(1, affine=False)
        self.scale = nn.Parameter(torch.ones(()))
        self.bias = nn.Parameter(torch.zeros(()))
        self.unknown = nn.Parameter(torch.zeros(()))

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]; ``rows.encoded`` is the score, float [B, 1], NaN for none."""
        assert rows.encoded is not None
        score = rows.encoded
        known = ~score.isnan()[:, 0]
        logits = self.unknown.expand(len(score)).clone()
        if known.any():
            inside = score[known]
            # One row alone has no spread.
            scaled = self.standard(inside) if len(inside) > 1 or not self.training else inside
            logits[known] = (self.scale * scaled[:, 0] + self.bias).to(logits.dtype)
        return logits
