"""MaskNet: layers that are multiplied with masks made of the row.

Wang et al., MaskNet: Introducing Feature-Wise Multiplication to CTR Ranking Models by
Instance-Guided Mask, DLP-KDD 2021, arXiv:2102.07619. Shapes: B rows, F fields, D = dim, N = F x D.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.models.layers import Dropout
from lightning_rec.ranges import BelowOne, Widths


class MaskBlock(nn.Module):
    """ReLU(LN(W (mask(v) ⊙ hidden))), mask(v) = W_2 ReLU(W_1 v + b_1) + b_2 (equations 6 to 10)."""

    def __init__(
        self, inputs: int, before: int, after: int, reduction: float, dropout: float
    ) -> None:
        super().__init__()
        middle = max(1, int(before * reduction))
        self.mask = nn.Sequential(nn.Linear(inputs, middle), nn.ReLU(), nn.Linear(middle, before))
        self.hidden = nn.Sequential(
            nn.Linear(before, after, bias=False), nn.LayerNorm(after), nn.ReLU(), Dropout(dropout)
        )

    def forward(self, vectors: Tensor, hidden: Tensor) -> Tensor:
        """Float [B, N], [B, before] -> [B, after]."""
        return self.hidden(self.mask(vectors) * hidden)


class MaskNet(ClickModel):
    """Blocks one after the other, or side by side below a network (figure 3).

    Args:
        structure: ``serial``: a block for each of ``mlp``. ``parallel``: ``blocks`` of them, each
            ``block_dim`` wide, and a network of ``mlp`` over all.
        blocks: number of parallel blocks.
        block_dim: width of a parallel block.
        reduction: width inside a mask, as a share of what it masks.
        mlp: widths of the serial blocks, or of the network.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        structure: Literal["serial", "parallel"] = "serial",
        blocks: PositiveInt = 3,
        block_dim: PositiveInt = 64,
        reduction: PositiveFloat = 1.0,
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
    ) -> None:
        super().__init__(schema)
        width = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        # One layer norm per field (equation 5): the same as one without weights, and weights.
        self.scale = nn.Parameter(torch.ones(schema.num_fields, dim))
        self.shift = nn.Parameter(torch.zeros(schema.num_fields, dim))
        self.parallel = structure == "parallel"
        edges = [(width, block_dim)] * blocks if self.parallel else [*zip((width, *mlp), mlp)]  # noqa: B905
        self.blocks = nn.ModuleList(
            MaskBlock(width, before, after, reduction, dropout) for before, after in edges
        )
        top = block_dim * blocks if self.parallel else (mlp[-1] if mlp else width)
        self.deep = MLP(top, mlp if self.parallel else (), dropout, batch_norm=False)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        normed = nn.functional.layer_norm(vectors, vectors.shape[2:]) * self.scale + self.shift
        flat, hidden = vectors.flatten(1), normed.flatten(1)  # [B, N]
        if self.parallel:
            hidden = torch.cat([block(flat, hidden) for block in self.blocks], dim=1)
        else:
            for block in self.blocks:
                hidden = block(flat, hidden)
        return self.deep(hidden)[:, 0]
