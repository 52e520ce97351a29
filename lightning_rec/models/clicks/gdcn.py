"""GDCN: crosses of DCN-V2, each with a gate that says how much of it counts.

Wang et al., Towards Deeper, Lighter and Interpretable Cross Network for CTR Prediction, CIKM 2023,
arXiv:2311.04635. Shapes: B rows, N = fields x dim.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Layers, Widths


class GatedCross(nn.Module):
    """c_(l+1) = c_0 ⊙ (W_l c_l + b_l) ⊙ σ(V_l c_l) + c_l (equation 3)."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))

    def forward(self, first: Tensor) -> Tensor:
        """Float [B, N] -> [B, N]."""
        x = first
        for cross, gate in zip(self.crosses, self.gates, strict=True):
            x = first * cross(x) * torch.sigmoid(gate(x)) + x
        return x


class GDCN(ClickModel):
    """Gated crosses and a network, one after the other or side by side (figure 2).

    Biases of crosses begin at 0, where the authors draw them from [0, 1).

    Args:
        depth: number of crosses.
        structure: ``stacked`` is the authors' GDCN-S, ``parallel`` their GDCN-P.
        mlp: widths of the network; none leaves the crosses alone.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 3,
        structure: Literal["parallel", "stacked"] = "parallel",
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        width = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        self.cross = GatedCross(width, depth)
        self.deep = MLP(width, mlp, dropout, batch_norm, output=False)
        self.beside = structure == "parallel" and bool(mlp)
        top = mlp[-1] if mlp else width
        self.output = nn.Linear(width + top if self.beside else top, 1)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        x = self.fields(rows).flatten(1)  # [B, N]
        crossed = self.cross(x)
        made = torch.cat([crossed, self.deep(x)], dim=1) if self.beside else self.deep(crossed)
        return self.output(made)[:, 0]
