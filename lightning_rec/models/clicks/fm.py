"""FM: a factorization machine, all pairs of fields by the inner products of their vectors.

Rendle, Factorization Machines, ICDM 2010. Shapes: B rows, F fields, D = dim.
"""

from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import ClickModel, FieldVectors, FirstOrder


def pairs(vectors: Tensor) -> Tensor:
    """Sum of <v_i, v_j> over all pairs i < j, in linear time (lemma 3.1): [B, F, D] -> [B]."""
    square_of_sum = vectors.sum(dim=1).square()  # [B, D]
    sum_of_squares = vectors.square().sum(dim=1)  # [B, D]
    return (square_of_sum - sum_of_squares).sum(dim=1) / 2


class FM(ClickModel):
    """z = b + sum of w_i x_i + sum of <v_i, v_j> x_i x_j over i < j (equation 1)."""

    def __init__(self, schema: ClickSchema, dim: PositiveInt = 16) -> None:
        super().__init__(schema)
        self.linear = FirstOrder(schema)
        self.fields = FieldVectors(schema, dim)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        return self.linear(rows) + pairs(self.fields(rows))
