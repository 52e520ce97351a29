"""xDeepFM: crosses of whole vectors by a compressed interaction network, beside a network.

Lian et al., xDeepFM: Combining Explicit and Implicit Feature Interactions for Recommender Systems,
KDD 2018, arXiv:1803.05170. Shapes: B rows, F fields, D = dim, H maps of a layer.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors, FirstOrder
from lightning_rec.ranges import BelowOne, Widths


class CIN(nn.Module):
    """X^k_h = sum over i, j of W^(k,h)_ij (X^(k-1)_i ⊙ X^0_j), summed over D (equations 6, 7).

    Without an activation, which the paper found to be best.
    """

    def __init__(self, fields: int, maps: Widths) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(before * fields, after)
            for before, after in zip((fields, *maps), maps, strict=False)
        )

    def forward(self, first: Tensor) -> Tensor:
        """Float [B, F, D] -> [B, sum of maps]."""
        first = first.transpose(1, 2)  # [B, D, F]
        x, pooled = first, []
        for layer in self.layers:
            products = x[:, :, :, None] * first[:, :, None, :]  # [B, D, H, F]
            x = layer(products.flatten(2))  # [B, D, H']
            pooled.append(x.sum(dim=1))
        return torch.cat(pooled, dim=1)


class XDeepFM(ClickModel):
    """z = linear(x) + w · CIN(v) + deep(v) (equation 9).

    ``cin``: maps of each layer of the interaction network.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        cin: Widths = (16, 16),
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        if not cin:
            raise ValueError("cin=() must name at least one layer: without any it is Wide & Deep")
        self.linear = FirstOrder(schema)
        self.fields = FieldVectors(schema, dim)
        self.cin = CIN(schema.num_fields, cin)
        self.output = nn.Linear(sum(cin), 1)
        self.deep = MLP(schema.num_fields * dim, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        crossed = self.output(self.cin(vectors))[:, 0]
        return self.linear(rows) + crossed + self.deep(vectors.flatten(1))[:, 0]
