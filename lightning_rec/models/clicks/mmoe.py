"""MMoE: experts that all goals share, weighed for each goal by a gate of its own.

Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
KDD 2018.
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
from lightning_rec.ranges import BelowOne, Layers


class MMoE(ClickModel):
    """y_k = h_k(sum over i of g_k(x)_i f_i(x)), g_k(x) = softmax(W_k x) (equations 6 to 8).

    Args:
        schema: the fields, and the goals.
        dim: width of the vectors.
        experts: how many there are.
        mlp: widths of each expert.
        tower: widths of the network of each goal.
        dropout: in the networks.
        batch_norm: in the networks.
    """

    multi_task = True

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        experts: Layers = 4,
        mlp: Widths = (128, 64),
        tower: Widths = (64,),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema)
        self.fields = FieldVectors(schema, dim)
        inputs = schema.num_fields * dim
        self.experts = nn.ModuleList(
            MLP(inputs, mlp, dropout, batch_norm, output=False) for _ in range(experts)
        )
        self.gates = nn.ModuleList(nn.Linear(inputs, experts, bias=False) for _ in schema.goals)
        wide = mlp[-1] if mlp else inputs
        self.towers = nn.ModuleList(MLP(wide, tower, dropout, batch_norm) for _ in schema.goals)
        initialise(self)

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]."""
        x = self.fields(rows).flatten(1)
        made = torch.stack([expert(x) for expert in self.experts], dim=1)  # [B, E, W]
        mixed = (mix(gate(x), made) for gate in self.gates)
        return torch.cat(
            [tower(each) for tower, each in zip(self.towers, mixed, strict=True)], dim=1
        )


def mix(gate: Tensor, made: Tensor) -> Tensor:
    """What experts made, [B, E, W], weighed by the softmax of a gate, [B, E]: float [B, W]."""
    return torch.bmm(gate.softmax(dim=1)[:, None], made)[:, 0]
