"""DCN: crosses of growing degree, one weight vector each, beside a network.

Wang et al., Deep & Cross Network for Ad Click Predictions, ADKDD 2017, arXiv:1708.05123. Shapes: B
rows, N = fields x dim.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Layers, Widths


class Cross(nn.Module):
    """x_(l+1) = x_0 (x_l · w_l) + b_l + x_l (equation 3)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.weights = nn.ModuleList(nn.Linear(width, 1, bias=False) for _ in range(depth))
        self.biases = nn.Parameter(torch.zeros(depth, width))

    def forward(self, first: Tensor) -> Tensor:
        """Float [B, N] -> [B, N]."""
        x = first
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = first * weight(x) + bias + x
        return x


class DCN(ClickModel):
    """z = w · [cross(x), deep(x)] (equation 5).

    Args:
        depth: number of crosses.
        mlp: widths of the network; none leaves the crosses alone.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 3,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        width = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        self.cross = Cross(width, depth)
        self.deep = MLP(width, mlp, dropout, batch_norm, output=False) if mlp else None
        self.output = nn.Linear(width + (mlp[-1] if mlp else 0), 1)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        x = self.fields(rows).flatten(1)  # [B, N]
        made = [self.cross(x)] if self.deep is None else [self.cross(x), self.deep(x)]
        return self.output(torch.cat(made, dim=1))[:, 0]
