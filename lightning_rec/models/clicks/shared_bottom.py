"""Shared bottom: one network for all goals, and a tower on it for each.

Caruana, Multitask Learning, Machine Learning 28, 1997; as in Ma et al., KDD 2018, equation 1.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.batches import Rows
from lightning_rec.data.clicks.fields import ClickSchema
from lightning_rec.models.clicks.parts import (
    MLP,
    ClickModel,
    FieldVectors,
    Widths,
    initialise,
)
from lightning_rec.ranges import BelowOne


class SharedBottom(ClickModel):
    """y_k = h_k(f(x)): f is shared, the towers h_k are not.

    Args:
        schema: the fields, and the goals.
        dim: width of the vectors.
        mlp: widths of the shared network.
        tower: widths of the network of each goal.
        dropout: in the networks.
        batch_norm: in the networks.
    """

    multi_task = True

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128),
        tower: Widths = (64,),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.fields = FieldVectors(schema, dim)
        inputs = schema.num_fields * dim
        self.bottom = MLP(inputs, mlp, dropout, batch_norm, output=False)
        wide = mlp[-1] if mlp else inputs
        self.towers = nn.ModuleList(MLP(wide, tower, dropout, batch_norm) for _ in schema.goals)
        initialise(self)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]."""
        shared = self.bottom(self.fields(rows).flatten(1))
        return torch.cat([tower(shared) for tower in self.towers], dim=1)
