"""EulerNet: crosses of learnt orders, as products of complex vectors.

Tian et al., EulerNet: Adaptive Feature Interaction Learning via Euler's Formula for CTR Prediction,
SIGIR 2023, arXiv:2304.10711. Shapes: B rows, F vectors of a layer, G of the next, D = dim.
"""

from itertools import pairwise

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import ClickModel, FieldVectors
from lightning_rec.models.layers import Dropout
from lightning_rec.ranges import BelowOne, Widths


class EulerLayer(nn.Module):
    """∏_j r_j^α_j, of which α is learnt: sums of logarithms of moduli, and of phases (equations 7
    to 10), plus a linear map of all with ReLU, alike for real and imaginary parts (equation 11).
    """

    def __init__(self, before: int, after: int, dim: int, norm: bool, dropout: float) -> None:
        super().__init__()
        # As the authors begin: each as it is, or one of the vectors before, drawn at random.
        drawn = torch.softmax(torch.randn(before, after) / 0.01, dim=0)
        self.orders = nn.Parameter(torch.eye(before) if before == after else drawn)
        self.modulus = nn.Parameter(torch.randn(dim, after) * 0.01)
        self.phase = nn.Parameter(torch.randn(dim, after) * 0.01)
        self.plain = nn.Linear(before * dim, after * dim)
        self.drop = Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * norm))

    def forward(self, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Real and imaginary parts, float [B, F, D] each -> [B, G, D] each."""
        real, imaginary = parts
        logs = 0.5 * torch.log(real**2 + imaginary**2 + 1e-8)  # of the moduli
        phases = torch.atan2(imaginary, real)
        logs, phases = self.drop(logs).transpose(1, 2), self.drop(phases).transpose(1, 2)
        modulus = torch.exp(logs @ self.orders + self.modulus).transpose(1, 2)  # [B, G, D]
        phase = (phases @ self.orders + self.phase).transpose(1, 2)
        plain = [
            torch.relu(self.plain(self.drop(part.flatten(1)))).view_as(modulus) for part in parts
        ]
        made = plain[0] + modulus * torch.cos(phase), plain[1] + modulus * torch.sin(phase)
        if not len(self.norms):
            return made
        return self.norms[0](made[0]), self.norms[1](made[1])


class EulerNet(ClickModel):
    """Layers over μ e^(i v) of the vectors v of the fields, and one linear map of both parts.

    Args:
        orders: vectors that each layer makes (the authors' ``shape``).
        norm: whether layers end in a layer norm.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        orders: Widths = (10,),
        norm: bool = False,
        dropout: BelowOne = 0.0,
    ) -> None:
        super().__init__(schema)
        if not orders:
            raise ValueError("orders=[] makes no layer: say how many vectors each has, as [10]")
        self.fields = FieldVectors(schema, dim)
        self.length = nn.Parameter(torch.ones(schema.num_fields, 1))
        sizes = pairwise((schema.num_fields, *orders))
        self.layers = nn.Sequential(*(EulerLayer(a, b, dim, norm, dropout) for a, b in sizes))
        self.output = nn.Linear(orders[-1] * dim, 1)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)
        parts = self.length * torch.cos(vectors), self.length * torch.sin(vectors)
        real, imaginary = self.layers(parts)
        return (self.output(real.flatten(1)) + self.output(imaginary.flatten(1)))[:, 0]
