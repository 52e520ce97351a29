"""FinalMLP: two networks over differently gated fields, joined by bilinear products.

Mao et al., FinalMLP: An Enhanced Two-Stream MLP Model for CTR Prediction, AAAI 2023,
arXiv:2304.00902. Shapes: B rows, F fields, D = dim, N = F x D.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from lightning_rec.data.clicks.schema import ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, ClickModel, FieldVectors
from lightning_rec.ranges import BelowOne, Widths


class Gate(nn.Module):
    """h = 2 σ(gate(c)) ⊙ e: what of the fields a stream reads (equations 3, 4)."""

    def __init__(
        self, schema: ClickSchema, context: tuple[str, ...], dim: int, widths: Widths
    ) -> None:
        super().__init__()
        self.of_context = [schema.place(name) for name in context]
        # Vectors of its own, so that the gate does not pull at those of the streams.
        self.fields = FieldVectors(schema, dim) if context else None
        self.context = None if context else nn.Parameter(torch.zeros(1, dim))
        inputs, outputs = dim * max(1, len(context)), schema.num_fields * dim
        self.network = MLP(inputs, widths, 0.0, batch_norm=False, output=False)
        self.output = nn.Linear(widths[-1] if widths else inputs, outputs)

    def forward(self, rows: Rows, vectors: Tensor) -> Tensor:
        """Float [B, N] -> [B, N]."""
        if self.fields is not None:
            context = self.fields(rows)[:, self.of_context].flatten(1)
        else:
            assert self.context is not None
            context = self.context
        gates = 2 * torch.sigmoid(self.output(self.network(context)))
        return vectors * gates


class Fusion(nn.Module):
    """b + w_1 · o_1 + w_2 · o_2 + sum over heads of o_1 W o_2 (equations 5, 7)."""

    def __init__(self, left: int, right: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.left, self.right = nn.Linear(left, 1), nn.Linear(right, 1)
        self.weight = nn.Parameter(torch.empty(heads, left // heads, right // heads))
        nn.init.xavier_normal_(self.weight.view(-1, 1))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Float [B, left], [B, right] -> [B]."""
        cut_left = left.view(len(left), self.heads, -1).transpose(0, 1)  # [H, B, left / H]
        cut_right = right.view(len(right), self.heads, -1).transpose(0, 1)
        products = (torch.bmm(cut_left, self.weight) * cut_right).sum(dim=(0, 2))  # [B]
        return self.left(left)[:, 0] + self.right(right)[:, 0] + products


class FinalMLP(ClickModel):
    """Two gated streams and their fusion (figure 1b).

    Args:
        mlp: widths of the first stream.
        mlp2: widths of the second stream.
        dropout: in the first stream.
        dropout2: in the second stream.
        batch_norm: in both streams.
        gated: whether the streams have gates.
        gate: widths of the gates' networks.
        context: names of the fields that the first gate reads; none takes a learnt vector.
        context2: likewise for the second gate.
        heads: of the fusion; must divide the last width of both streams.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        mlp: Widths = (128, 128, 128),
        mlp2: Widths = (128,),
        dropout: BelowOne = 0.2,
        dropout2: BelowOne = 0.2,
        batch_norm: bool = True,
        gated: bool = True,
        gate: Widths = (64,),
        context: tuple[str, ...] = (),
        context2: tuple[str, ...] = (),
        heads: PositiveInt = 2,
    ) -> None:
        super().__init__(schema)
        for name, widths in (("mlp", mlp), ("mlp2", mlp2)):
            if not widths or widths[-1] % heads:
                raise ValueError(f"heads={heads} must divide the last width of {name}={widths}")
        inputs = schema.num_fields * dim
        self.fields = FieldVectors(schema, dim)
        self.first = MLP(inputs, mlp, dropout, batch_norm, output=False)
        self.second = MLP(inputs, mlp2, dropout2, batch_norm, output=False)
        self.gates = nn.ModuleList(
            Gate(schema, names, dim, gate) for names in (context, context2) if gated
        )
        self.fusion = Fusion(mlp[-1], mlp2[-1], heads)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows).flatten(1)  # [B, N]
        streams = [gate(rows, vectors) for gate in self.gates] or [vectors, vectors]
        return self.fusion(self.first(streams[0]), self.second(streams[1]))
