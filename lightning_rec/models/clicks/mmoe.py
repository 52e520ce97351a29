"""MMoE: experts that all goals share, weighed for each goal by a gate of its own.

Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts,
KDD 2018.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.models.clicks.multi_task import MultiTask, mix
from lightning_rec.models.clicks.parts import MLP
from lightning_rec.ranges import BelowOne, Layers, Widths


class MMoE(MultiTask):
    """y_k = h_k(sum over i of g_k(x)_i f_i(x)), g_k(x) = softmax(W_k x) (equations 6 to 8).

    Args:
        experts: how many there are.
        mlp: widths of each expert.
    """

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
        super().__init__(schema, dim)
        inputs = self.inputs
        self.experts = nn.ModuleList(
            MLP(inputs, mlp, dropout, batch_norm, output=False) for _ in range(experts)
        )
        self.gates = nn.ModuleList(nn.Linear(inputs, experts, bias=False) for _ in schema.goals)
        self.towers = self.new_towers(mlp[-1] if mlp else inputs, tower, dropout, batch_norm)
        self.initialise()

    def states(self, x: Tensor) -> list[Tensor]:
        """The experts, weighted by the gate of each goal."""
        experts = torch.stack([expert(x) for expert in self.experts], dim=1)  # [B, E, W]
        return [mix(gate(x), experts) for gate in self.gates]
