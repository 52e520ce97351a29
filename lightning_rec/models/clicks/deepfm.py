"""DeepFM: a factorization machine and a network over the same vectors.

Guo et al., DeepFM: A Factorization-Machine based Neural Network for CTR Prediction, IJCAI 2017,
arXiv:1703.04247.
"""

from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.fm import FM, pairs
from lightning_rec.models.clicks.parts import MLP
from lightning_rec.ranges import BelowOne, Widths


class DeepFM(FM):
    """z = y_FM + y_DNN (equation 1), both of them over one table of vectors."""

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema, dim)
        self.deep = MLP(schema.num_fields * dim, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        return self.linear(rows) + pairs(vectors) + self.deep(vectors.flatten(1))[:, 0]
