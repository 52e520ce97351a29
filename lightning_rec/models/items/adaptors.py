"""Maps from vectors that describe items to vectors of items: linear, or a mixture of experts.

Shapes: n = items asked for at once, E = width of what describes them, D = dim, G experts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_rec.models.items.base import INIT_STD
from lightning_rec.models.layers import Dropout

NOISE = 0.01  # least deviation of the noise on gates

AdaptorName = Literal["linear", "moe"]


class Adaptor(nn.Module, ABC):
    """A learnt map of vectors."""

    __call__: Callable[..., Tensor]

    @abstractmethod
    def draw(self) -> None:
        """Draw the initial weights."""


MakeAdaptor = Callable[[int, int], Adaptor]
"""Makes a map of vectors of one width to vectors of another."""


class LinearMap(nn.Linear, Adaptor):
    """A linear map with a bias."""

    @torch.no_grad()
    def draw(self) -> None:
        """Draw it as what is learnt of items, with a bias of 0."""
        nn.init.normal_(self.weight, std=INIT_STD)
        nn.init.zeros_(self.bias)


class Experts(Adaptor):
    """A mixture of whitenings that are learnt: sum of ``g_k W_k (x - b_k)``.

    Hou et al., Towards Universal Sequence Representation Learning for Recommender Systems, KDD
    2022, arXiv:2206.05941, equations 2 to 5, as in RUCAIBox/UniSRec: each expert drops out what it
    reads by itself, and in training the gates, a softmax over a linear map of x, have noise whose
    deviation is learnt.

    Args:
        number: of experts, G.
        dropout: of what they read, before ``b_k`` is subtracted.
    """

    def __init__(self, width: int, dim: int, number: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(number, dim, width))
        self.bias = nn.Parameter(torch.zeros(number, width))
        self.gate = nn.Parameter(torch.zeros(width, number))
        self.noise = nn.Parameter(torch.zeros(width, number))
        self.dropout = Dropout(dropout)

    @torch.no_grad()
    def draw(self) -> None:
        """Draw the experts; all gates are equal at first."""
        nn.init.normal_(self.weight, std=INIT_STD)

    def gates(self, vectors: Tensor) -> Tensor:
        """Float [n, E] -> float [n, G], which sum to 1. In training noise is drawn."""
        logits = vectors @ self.gate
        if self.training:
            deviation = functional.softplus(vectors @ self.noise) + NOISE
            logits = logits + torch.randn_like(logits) * deviation
        return logits.softmax(dim=-1)

    def forward(self, vectors: Tensor) -> Tensor:
        """Float [n, E] -> float [n, D]."""
        shift = torch.einsum("gde,ge->gd", self.weight, self.bias)  # W (x - b) = W x - W b
        gates = self.gates(vectors)
        made = -gates @ shift
        for weight, gate in zip(self.weight, gates.T, strict=True):
            made = made + gate[:, None] * functional.linear(self.dropout(vectors), weight)
        return made
