"""What models of several goals share: a tower for each goal, and mixtures of experts."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import Widths


class MultiTask(ClickModel):
    """y_k = h_k(state of goal k): a sub-class makes ``towers`` and the states."""

    multi_task = True
    towers: nn.ModuleList

    def __init__(self, schema: ClickSchema, dim: int) -> None:
        super().__init__(schema)
        self.fields, self.inputs = FieldVectors(schema, dim), schema.num_fields * dim

    def new_towers(
        self, inputs: int, tower: Widths, dropout: float, batch_norm: bool
    ) -> nn.ModuleList:
        """A network for each goal."""
        return nn.ModuleList(MLP(inputs, tower, dropout, batch_norm) for _ in self.schema.goals)

    @abstractmethod
    def states(self, x: Tensor) -> Sequence[Tensor]:
        """What the tower of each goal reads, float [B, W] each, of the fields, float [B, N]."""

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]."""
        states = self.states(self.fields(rows).flatten(1))
        towers = zip(self.towers, states, strict=True)
        return torch.cat([tower(state) for tower, state in towers], dim=1)


def mix(gate: Tensor, experts: Tensor) -> Tensor:
    """Outputs of experts, [B, E, W], weighted by the softmax of a gate, [B, E]: float [B, W]."""
    return torch.bmm(gate.softmax(dim=1)[:, None], experts)[:, 0]
