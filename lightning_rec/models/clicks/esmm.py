"""ESMM: clicks, and conversions after them, both learnt over all that was shown.

Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click Conversion
Rate, SIGIR 2018, arXiv:1804.07931.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn.functional import logsigmoid

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Widths


class ESMM(ClickModel):
    """p(click and conversion | x) = p(click | x) p(conversion | click, x) (equation 1).

    The first goal is the click, the second a conversion, which only comes after a click. The loss
    is that of both over all rows (equation 3); a row without a click teaches the second network
    nothing but through the product.

    ``mlp``: widths of each of the two networks.

    Raises ValueError if there are not two goals.
    """

    multi_task = True
    sequential = True  # a goal only comes with those before it

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        if len(schema.goals) != 2:
            raise ValueError(
                "ESMM has two goals, a click and a conversion, of data.fields.goals, and not "
                f"{', '.join(schema.goals)}"
            )
        self.fields = FieldVectors(schema, dim)
        inputs = schema.num_fields * dim
        self.click = MLP(inputs, mlp, dropout, batch_norm)
        self.conversion = MLP(inputs, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits of a click, and of a click with a conversion: float [B, 2]."""
        x = self.fields(rows).flatten(1)
        click, conversion = self.click(x), self.conversion(x)
        return torch.cat([click, logit_of_both(click, conversion)], dim=1)


def logit_of_both(first: Tensor, second: Tensor) -> Tensor:
    """The logit of the product of two probabilities, from their logits: any shape -> the same.

    With p = σ(a) σ(b), log(1 - p) = log(σ(-a) + σ(a) σ(-b)): no difference of near numbers.
    """
    both = logsigmoid(first) + logsigmoid(second)
    neither = torch.logaddexp(logsigmoid(-first), logsigmoid(first) + logsigmoid(-second))
    return both - neither
