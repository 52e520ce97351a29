"""Wukong: factorisation machines one on top of the other.

Zhang et al., Wukong: Towards a Scaling Law for Large-Scale Recommendation, ICML 2024,
arXiv:2403.02545. Shapes: B rows, F vectors of a layer, D = dim, K = rank.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Layers, Widths


class WukongLayer(nn.Module):
    """X_(i+1) = LN([FMB(X_i), LCB(X_i)] + residual(X_i)) (equation 3).

    FMB is a network over the flattened X Xᵀ Y, Y of ``rank`` columns (section 3.4), LCB a linear
    map of the vectors to fewer (section 3.5). Where the number of vectors changes, the residual is
    a linear map of them, too.
    """

    def __init__(
        self, before: int, made: int, kept: int, dim: int, rank: int, mlp: Widths, dropout: float
    ) -> None:
        super().__init__()
        self.shape = (made, dim)
        self.rank = nn.Parameter(torch.randn(before, rank))
        self.norm = nn.LayerNorm(before * rank)
        self.machine = MLP(before * rank, mlp, dropout, batch_norm=False, output=False)
        self.widen = nn.Linear(mlp[-1] if mlp else before * rank, made * dim)
        self.compress = nn.Linear(before, kept, bias=False)
        same = before == made + kept
        self.residual: nn.Module = nn.Identity() if same else nn.Linear(before, made + kept)
        self.scale = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, F, D] -> [B, made + kept, D]."""
        turned = x.transpose(1, 2)  # [B, D, F]
        pairs = torch.bmm(x, turned @ self.rank).flatten(1)  # [B, F x K]
        machine = torch.relu(self.widen(self.machine(self.norm(pairs))))
        rest = self.compress(turned).transpose(1, 2)
        both = torch.cat([machine.unflatten(1, self.shape), rest], dim=1)
        return self.scale(both + self.residual(turned).transpose(1, 2))


class Wukong(ClickModel):
    """A stack of Wukong layers and a network over all vectors that come out (figure 2).

    Args:
        depth: number of layers; the order of crosses that are seen is 2 to the power of it.
        made: vectors that the factorisation machine of a layer makes.
        kept: vectors that its linear compression keeps.
        rank: K of X Xᵀ Y.
        machine: widths of the network in a layer.
        mlp: widths of the network on top.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 3,
        made: PositiveInt = 16,
        kept: PositiveInt = 16,
        rank: PositiveInt = 8,
        machine: Widths = (32, 32),
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.fields = FieldVectors(schema, dim)
        sizes = [schema.num_fields, *[made + kept] * depth]
        self.layers = nn.Sequential(
            *(WukongLayer(n, made, kept, dim, rank, machine, dropout) for n in sizes[:-1])
        )
        self.deep = MLP(sizes[-1] * dim, mlp, 0.0, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        return self.deep(self.layers(self.fields(rows)).flatten(1))[:, 0]
