"""PLE: experts of each goal beside shared ones, told apart layer by layer.

Tang et al., Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
Personalized Recommendations, RecSys 2020.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.models.clicks.multi_task import MultiTask, mix
from lightning_rec.models.clicks.parts import MLP
from lightning_rec.ranges import BelowOne, Layers, Widths


class PLE(MultiTask):
    """Layers of customized gate control, then a tower for each goal (sections 4.1 and 4.2).

    Args:
        depth: layers; one is the paper's CGC.
        own_experts: of each goal in each layer.
        shared_experts: of all goals in each layer.
        expert: widths of an expert.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        depth: Layers = 2,
        own_experts: Layers = 2,
        shared_experts: Layers = 2,
        expert: Widths = (64,),
        tower: Widths = (64,),
        dropout: BelowOne = 0.2,
        batch_norm: bool = True,
    ) -> None:
        super().__init__(schema, dim)
        goals = len(schema.goals)
        widths = [self.inputs] + depth * [expert[-1] if expert else self.inputs]

        def network(inputs: int) -> MLP:
            return MLP(inputs, expert, dropout, batch_norm, output=False)

        self.layers = nn.ModuleList(
            Extraction(
                nn.ModuleList(
                    nn.ModuleList(network(width) for _ in range(number))
                    for number in [*goals * [own_experts], shared_experts]
                ),
                width,
                last=layer == depth - 1,
            )
            for layer, width in enumerate(widths[:-1])
        )
        self.towers = self.new_towers(widths[-1], tower, dropout, batch_norm)
        self.initialise()

    def states(self, x: Tensor) -> list[Tensor]:
        """What the last layer makes for each goal."""
        states = [x] * (len(self.towers) + 1)
        for layer in self.layers:
            states = layer(states)
        return states


class Extraction(nn.Module):
    """One layer: each goal mixes its own experts and the shared ones (equations 1 to 3).

    But in the last layer there is a further state, the shared one, which mixes all of them
    (section 4.2). ``experts`` are those of each goal, and the shared ones last.
    """

    def __init__(self, experts: nn.ModuleList, inputs: int, last: bool) -> None:
        super().__init__()
        self.experts = experts
        *own, shared = [len(each) for each in experts]  # type: ignore[arg-type]
        numbers = [number + shared for number in own] + ([] if last else [sum(own) + shared])
        self.gates = nn.ModuleList(nn.Linear(inputs, number, bias=False) for number in numbers)

    def forward(self, states: list[Tensor]) -> list[Tensor]:
        """States of the goals and the shared one, float [B, W] each -> the next ones."""
        made = [
            torch.stack([expert(state) for expert in experts], dim=1)  # type: ignore[attr-defined]
            for experts, state in zip(self.experts, states, strict=True)
        ]
        seen = [torch.cat([own, made[-1]], dim=1) for own in made[:-1]] + [torch.cat(made, dim=1)]
        # The last layer has no gate for the shared state.
        triples = zip(self.gates, states, seen, strict=False)
        return [mix(gate(state), mine) for gate, state, mine in triples]
