"""DIN: what somebody did before, weighed by what it has to do with the item shown.

Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018, arXiv:1706.06978.
Shapes: B rows, F fields, D = dim, S items in all histories of the batch.
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.data.clicks.schema import BatchItems, ClickSchema, Rows
from lightning_rec.models.clicks.parts import MLP, FieldVectors, HistoryModel
from lightning_rec.ranges import BelowOne, Widths


class Dice(nn.Module):
    """f(s) = p(s) s + (1 - p(s)) α s, p(s) = σ((s - E[s]) / √(Var[s] + ε)) (equation 3).

    Mean and variance are those of the batch, and in evaluation their moving averages.

    ``width``: how many s there are; each has an α of its own.
    """

    statistics: ClassVar[tuple[str, ...]] = ("mean", "variance")  # that a training moves
    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, width] -> the same."""
        several = self.training and len(x) > 1  # one row has no variance
        scaled = functional.batch_norm(x, self.mean, self.variance, training=several, eps=1e-8)
        share = torch.sigmoid(scaled)
        return share * x + (1 - share) * self.alpha * x


class DIN(HistoryModel):
    """z = MLP([fields, v_U]), v_U = Σ_j a(e_j, v_A) e_j over the items of the history (equation 2).

    The activation unit a is a network over [e_j, v_A, e_j - v_A, e_j ⊙ v_A]: the authors' code has
    this for the outer product of the paper. Weights are not normalised, so that v_U keeps the
    intensity of an interest (section 4.3). Items of histories and shown items share their vectors.

    Args:
        attention: widths of the activation unit.
        activation: in both: ``dice``, or ``prelu``, which Dice was made of.
    """

    def __init__(
        self,
        schema: ClickSchema,
        dim: PositiveInt = 16,
        attention: Widths = (80, 40),
        mlp: Widths = (200, 80),
        activation: Literal["dice", "prelu"] = "dice",
        dropout: BelowOne = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(schema)
        make = Dice if activation == "dice" else partial(nn.PReLU, init=0.25)
        self.fields = FieldVectors(schema, dim)
        self.unit = MLP(4 * dim, attention, 0.0, batch_norm=False, activation=make)
        self.deep = MLP((schema.num_fields + 1) * dim, mlp, dropout, batch_norm, activation=make)
        self.initialise()

    def forward(self, rows: Rows) -> Tensor:
        """Logits, float [B]."""
        vectors = self.fields(rows)  # [B, F, D]
        interest = self.interest(self.history(rows), vectors[:, self.item], rows.items)
        return self.deep(torch.cat([vectors.flatten(1), interest], dim=1))[:, 0]

    def interest(self, items: Tensor, shown: Tensor, described: BatchItems | None = None) -> Tensor:
        """v_U, float [B, D], of histories, int64 [B, L], and vectors of the items shown, [B, D].

        ``described``: what describes the items, if anything does.
        """
        row, column = (items != self.padding).nonzero(as_tuple=True)  # padding costs nothing
        past, target = self.fields.items(items[row, column], described), shown[row]  # [S, D]
        weight = self.unit(torch.cat([past, target, past - target, past * target], dim=1))  # [S, 1]
        return torch.zeros_like(shown).index_add(0, row, weight * past)
