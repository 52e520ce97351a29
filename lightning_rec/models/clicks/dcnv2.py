"""DCN-V2: crosses with a full weight matrix each, before or beside a network.

Wang et al., DCN V2: Improved Deep & Cross Network, WWW 2021, arXiv:2008.13535. Shapes: B rows, N =
fields x dim.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Layers, Widths


class MatrixCross(nn.Module):
    """x_(l+1) = x_0 ⊙ (W_l x_l + b_l) + x_l (equation 1); W = U V of a low rank (equation 2)."""

    def __init__(self, width: int, depth: int, rank: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(width, width)
            if rank is None
            else nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
            for _ in range(depth)
        )

    def forward(self, first: Tensor) -> Tensor:
        """Float [B, N] -> [B, N]."""
        x = first
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class DCNv2(ClickModel):
    """Crosses and a network, one after the other or side by side (figure 1).

    Args:
        depth: number of crosses.
        rank: of the matrices; None leaves them full.
        mlp: widths of the network; none leaves the crosses alone.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 3,
        rank: PositiveInt | None = None,
        structure: Literal["parallel", "stacked"] = "parallel",
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        width = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        self.cross = MatrixCross(width, depth, rank)
        self.deep = MLP(width, mlp, dropout, batch_norm, output=False)
        self.stacked = structure == "stacked"
        top = mlp[-1] if mlp else width  # no layers hand on what they get
        self.output = nn.Linear(top if self.stacked or not mlp else width + top, 1)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        x = self.fields(rows).flatten(1)  # [B, N]
        crossed = self.cross(x)
        if self.stacked or not len(self.deep):
            made = self.deep(crossed)
        else:
            made = torch.cat([crossed, self.deep(x)], dim=1)
        return self.output(made)[:, 0]
