"""FiBiNET: fields weighed by what the row holds, and pairs of them by bilinear products.

Huang et al., FiBiNET: Combining Feature Importance and Bilinear feature Interaction for
Click-Through Rate Prediction, RecSys 2019, arXiv:1905.09433. Shapes: B rows, F fields, D = dim, P =
F (F - 1) / 2 pairs.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors, FirstOrder
from lightning_rec.ranges import BelowOne, Widths


class Squeeze(nn.Module):
    """SENET: each field times a weight made of the means of all fields (equations 2 to 4)."""

    def __init__(self, fields: int, reduction: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(fields, max(1, fields // reduction), bias=False)
        self.expand = nn.Linear(max(1, fields // reduction), fields, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Float [B, F, D] -> [B, F, D]."""
        means = vectors.mean(dim=2)  # [B, F]
        weights = torch.relu(self.expand(torch.relu(self.reduce(means))))
        return vectors * weights[:, :, None]


class Bilinear(nn.Module):
    """p_ij = (v_i W) ⊙ v_j for all pairs i < j (equation 5); W of what ``kind`` says."""

    left: Tensor
    right: Tensor

    def __init__(self, fields: int, dim: int, kind: Literal["all", "each", "pair"]) -> None:
        super().__init__()
        left, right = torch.triu_indices(fields, fields, offset=1)
        self.register_buffer("left", left, persistent=False)
        self.register_buffer("right", right, persistent=False)
        self.kind = kind
        number = {"all": 1, "each": fields, "pair": len(left)}[kind]
        self.weight = nn.Parameter(torch.empty(number, dim, dim))
        for matrix in self.weight.data:
            nn.init.xavier_normal_(matrix)

    def forward(self, vectors: Tensor) -> Tensor:
        """Float [B, F, D] -> [B, P, D]."""
        own = vectors[:, self.left] if self.kind == "pair" else vectors
        # One matrix times the vectors of one field in all rows, for all fields at once.
        mapped = torch.matmul(own.transpose(0, 1), self.weight).transpose(0, 1)
        return (mapped if self.kind == "pair" else mapped[:, self.left]) * vectors[:, self.right]


class FiBiNET(ClickModel):
    """z = linear(x) + deep([p_1, …, p_P, q_1, …, q_P]), q of the weighed vectors (equation 7).

    Args:
        reduction: F over the width in the middle of SENET.
        bilinear: what shares a matrix: ``all``, ``each`` left field, or nothing (``pair``).
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        reduction: PositiveInt = 3,
        bilinear: Literal["all", "each", "pair"] = "pair",
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        fields = schema.num_fields
        if fields < 2:
            raise ValueError("FiBiNET is about pairs of fields, and there is only one field")
        self.linear = FirstOrder(schema)
        self.fields = FieldVectors(schema, dim)
        self.squeeze = Squeeze(fields, reduction)
        self.plain, self.weighed = (Bilinear(fields, dim, bilinear) for _ in range(2))
        self.deep = MLP(fields * (fields - 1) * dim, mlp, dropout, batch_norm)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        made = torch.cat([self.plain(vectors), self.weighed(self.squeeze(vectors))], dim=1)
        return self.linear(rows) + self.deep(made.flatten(1))[:, 0]
