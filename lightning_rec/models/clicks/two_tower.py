"""Two towers: one reads who somebody is, the other what is shown; they meet at the very end.

Huang et al., Learning Deep Structured Semantic Models for Web Search using Clickthrough Data, CIKM
2013; Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations,
RecSys 2019. Shapes: B rows, D = dim, T = width of the towers' output.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors, sides
from lightning_rec.ranges import BelowOne, Widths


class TwoTower(ClickModel):
    """p = σ(w · [h_user ⊕ g_item] + b), or p = σ(h_user · g_item + b).

    In the first form what is shown adds to who sees it, no more; by the second, items can be
    searched by their vectors.

    Args:
        mlp: widths of each tower.
        width: T, of what comes out of each.
        dot: whether they meet in an inner product.
        item_fields: names of the fields that the tower of the item reads; none takes the field that
            ``data.fields.item`` names. The other tower reads all others, an encoded history among
            them.

    Raises ValueError if a tower is left without fields.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128,),
        width: PositiveInt = 32,
        dot: bool = False,
        item_fields: tuple[str, ...] = (),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.of_user, self.of_item = self.sides = sides(schema, item_fields)

        def tower(fields: int) -> nn.Module:
            hidden = MLP(fields * dim, mlp, dropout, batch_norm, output=False)
            return nn.Sequential(hidden, nn.Linear(mlp[-1] if mlp else fields * dim, width))

        self.fields = FieldVectors(schema, dim)
        self.user, self.shown = tower(len(self.of_user)), tower(len(self.of_item))
        self.output = None if dot else nn.Linear(2 * width, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(()))
        self.initialise()

    def encode_sides(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Vectors of the users and of the items of ``rows``, float [B, T] each."""
        vectors = self.fields(rows)  # [B, F, D]
        user, item = (vectors[:, side].flatten(1) for side in (self.of_user, self.of_item))
        return self.user(user), self.shown(item)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        user, shown = self.encode_sides(rows)
        if self.output is None:
            logits: Tensor = torch.linalg.vecdot(user, shown)
        else:
            logits = self.output(torch.cat([user, shown], dim=1))[:, 0]
        return logits + self.bias
