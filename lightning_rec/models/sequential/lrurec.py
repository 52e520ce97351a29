"""LRURec: Linear Recurrent Units for Sequential Recommendation.

Yue et al., WSDM 2024, arXiv:2310.02367, as in yueqirex/LRURec. Shapes: as in
:class:`NeuralSequenceModel`, E = 2 D recurrent units.
"""

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.base import modules_beside_items
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import TRUNCATED, NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers

SLOWEST, FASTEST = 0.99, 0.8  # what at first remains of a unit's state after one position


class LRURec(NeuralSequenceModel):
    """Layers of a linear recurrence and a feed-forward layer; positions have no vectors.

    The recurrence is linear, so that all positions are worked out in as many steps as the length
    can be halved.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        feedforward: PositiveInt = 4,
        dropout: BelowOne = 0.2,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema, dim, items)
        self.norm = nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dim, dim * feedforward, dropout) for _ in range(depth))
        self.output_bias = self.item.new_bias()
        self.item.initialise(TRUNCATED)
        if self.output_bias.requires_grad:
            TRUNCATED(self.output_bias)
        for module in modules_beside_items(self):
            if isinstance(module, nn.Linear):
                TRUNCATED(module.weight)
                TRUNCATED(module.bias)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, D]."""
        hidden_BLD = self.norm(self.dropout(self.embedded(histories)))
        for layer in self.layers[:-1]:
            hidden_BLD = layer(hidden_BLD)
        return self.layers[-1](hidden_BLD, positions)


class Layer(nn.Module):
    """A linear recurrent unit, then feed-forward, each with dropout, residual and LayerNorm."""

    def __init__(self, dim: int, inner: int, dropout: float) -> None:
        super().__init__()
        units = 2 * dim
        left = torch.rand(units) * (SLOWEST**2 - FASTEST**2) + FASTEST**2  # squared
        angle = torch.rand(units) * 2 * math.pi
        # How fast each unit forgets, how fast it turns, and how much it takes in: logarithms.
        self.rates = nn.Parameter(
            torch.stack([(-0.5 * left.log()).log(), angle.log(), 0.5 * (1 - left).log()])
        )
        self.read = nn.Linear(dim, 2 * units)  # real parts of all units, then imaginary ones
        self.write = nn.Linear(2 * units, dim)  # the real part of a complex map
        self.recurrent_norm, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.expand, self.contract = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.dropout = Dropout(dropout)

    def forward(self, hidden_BLD: Tensor, positions: Tensor | None = None) -> Tensor:
        """Float [B, L, D] -> the same; or, gathered at positions, float [M, D]."""
        forget, turn, take = self.rates.exp()
        read = self.read(hidden_BLD).float() * take.repeat(2)  # there are no complex halves
        real, imaginary = read.chunk(2, dim=2)
        states = recur(torch.complex(real, imaginary), torch.exp(torch.complex(-forget, turn)))
        if positions is not None:
            hidden_BLD, states = gather(hidden_BLD, positions), gather(states, positions)
        written = self.write(torch.cat([states.real, states.imag], dim=-1))
        hidden = self.recurrent_norm(self.dropout(written) + hidden_BLD)
        inner = self.contract(self.dropout(F.gelu(self.expand(hidden))))
        return self.norm(self.dropout(inner) + hidden)


def recur(x: Tensor, factor: Tensor) -> Tensor:
    """States h[t] = factor * h[t - 1] + x[t], h[-1] = 0: complex [B, L, E] -> the same.

    Halves are joined: to each state of the second one comes the last state of the first one, times
    a power of ``factor``, complex [E].
    """
    batch, length, units = x.shape
    doublings = max(0, length - 1).bit_length()
    states = F.pad(x, (0, 0, 0, 2**doublings - length))
    powers = factor[None]
    for half in (2**step for step in range(doublings)):
        first, second = states.view(batch, -1, 2 * half, units).split(half, dim=2)
        second = second + powers * first[:, :, -1:]
        states = torch.cat([first, second], dim=2).view(batch, -1, units)
        powers = torch.cat([powers, powers * powers[-1]])
    return states[:, :length]
