"""PEPNet: gates of the domain scale what goes in, gates of the user what layers hand on.

Chang et al., PEPNet: Parameter and Embedding Personalized Network for Infusing with Personalized
Prior Information, KDD 2023, arXiv:2302.01115. Shapes: B rows, G goals, N = fields x dim, P = width
of the vectors of the prior fields.
"""

from collections.abc import Callable

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Widths


class GateNU(nn.Module):
    """δ = 2 σ(W' ReLU(W x + b) + b') (equations 2, 3), or with more or fewer layers inside."""

    __call__: Callable[..., Tensor]

    def __init__(self, inputs: int, hidden: Widths, outputs: int) -> None:
        super().__init__()
        self.inner = MLP(inputs, hidden, 0.0, batch_norm=False, output=False)
        self.output = nn.Linear(hidden[-1] if hidden else inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, inputs] -> [B, outputs], between 0 and 2."""
        return 2 * torch.sigmoid(self.output(self.inner(x)))


class Tower(nn.Module):
    """H_(l+1) = δ_l ⊙ f(W_l H_l + b_l) of one goal (PPNet, equations 6, 7), and its logit."""

    __call__: Callable[..., Tensor]

    def __init__(
        self, inputs: int, prior: int, mlp: Widths, gate: Widths, dropout: float, batch_norm: bool
    ) -> None:
        super().__init__()
        edges = [*zip((inputs, *mlp), mlp, strict=False)]
        self.layers = nn.ModuleList(
            MLP(before, (after,), dropout, batch_norm, output=False) for before, after in edges
        )
        self.gates = nn.ModuleList(GateNU(prior, gate, after) for _, after in edges)
        self.output = nn.Linear(mlp[-1] if mlp else inputs, 1)

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        """Float [B, N], [B, P + N] -> logits, [B, 1]."""
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = gate(prior) * layer(x)
        return self.output(x)


class PEPNet(ClickModel):
    """A gated network for each goal over gated fields (figure 3).

    Gates read the fields as well, through which they send no gradient. Vectors of the fields that
    gates are made of are their own, not those that the network reads.

    Args:
        domain: names of the fields that say where a row comes from, such as a scene or a country:
            they scale all vectors (EPNet). None leaves these as they are.
        prior: names of the fields that say who and what, such as user and item: they scale layers.
        gate: widths inside a gate.
        mlp: widths of the network of each goal.

    Raises ValueError, with the names there are, if ``domain`` or ``prior`` names no field.
    """

    multi_task = True

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        domain: tuple[str, ...] = (),
        prior: tuple[str, ...] = (),
        gate: Widths = (32,),
        mlp: Widths = (128, 128, 128),
        dropout: BelowOne = 0.2,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(schema)
        self.of_domain = [schema.place(name) for name in domain]
        self.of_prior = [schema.place(name) for name in prior]
        width = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        self.known = FieldVectors(schema, dim) if domain or prior else None
        self.scale = GateNU(len(domain) * dim + width, gate, width) if domain else None
        inputs = len(prior) * dim + width
        self.towers = nn.ModuleList(
            Tower(width, inputs, mlp, gate, dropout, batch_norm) for _ in schema.goals
        )
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B, G]."""
        x = self.fields(rows).flatten(1)  # [B, N]
        known = None if self.known is None else self.known(rows)
        if self.scale is not None:
            x = x * self.scale(self.beside(known, self.of_domain, x))
        prior = self.beside(known, self.of_prior, x)
        return torch.cat([tower(x, prior) for tower in self.towers], dim=1)

    @staticmethod
    def beside(known: Tensor | None, places: list[int], x: Tensor) -> Tensor:
        """Vectors of the fields at ``places``, and ``x`` without its gradient."""
        if known is None:
            return x.detach()
        return torch.cat([known[:, places].flatten(1), x.detach()], dim=1)
