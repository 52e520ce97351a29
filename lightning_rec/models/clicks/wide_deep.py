"""Wide & Deep: a linear model beside a network.

Cheng et al., Wide & Deep Learning for Recommender Systems, DLRS 2016, arXiv:1606.07792. Crossed
features of the wide part are made by hand there; here it has the fields as they are, as in BARS.
"""

from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors, FirstOrder
from lightning_rec.ranges import BelowOne, Widths


class WideDeep(ClickModel):
    """z = wide(x) + deep(v) (equation 3)."""

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.wide = FirstOrder(schema)
        self.fields = FieldVectors(schema, dim)
        self.deep = MLP(schema.num_fields * dim, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        return self.wide(rows) + self.deep(self.fields(rows).flatten(1))[:, 0]
