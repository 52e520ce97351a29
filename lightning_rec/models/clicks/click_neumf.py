"""NeuMF on rows of clicks: generalised matrix factorisation and a network, side by side.

He et al., Neural Collaborative Filtering, WWW 2017, arXiv:1708.05031. Shapes: B rows, D = dim.
"""

from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors, sides
from lightning_rec.ranges import BelowOne, Widths


class ClickNeuMF(ClickModel):
    """z = h · (p ⊙ q ⊕ MLP(p' ⊕ q')) + b (equation 12), with vectors of its own for either part.

    p is the sum of the vectors of the user's fields and q that of the item's; with one field each,
    as in the paper, they are the vectors themselves. The network reads the fields one by one.

    Args:
        item_fields: names of the fields of the item; none takes the field that
            ``data.fields.item`` names. All others are the user's.

    Raises ValueError if user or item is left without fields.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128, 128),
        item_fields: tuple[str, ...] = (),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.of_user, self.of_item = sides(schema, item_fields)
        self.gmf, self.fields = FieldVectors(schema, dim), FieldVectors(schema, dim)
        self.output = nn.Linear(dim, 1, bias=False)  # of the factorisation; the network has its own
        self.deep = MLP(schema.num_fields * dim, mlp, dropout, batch_norm)
        self.initialise()
        nn.init.ones_(self.output.weight)  # begins as the inner product of p and q

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.gmf(rows)  # [B, F, D]
        product = vectors[:, self.of_user].sum(dim=1) * vectors[:, self.of_item].sum(dim=1)
        logits: Tensor = self.output(product) + self.deep(self.fields(rows).flatten(1))
        return logits[:, 0]
