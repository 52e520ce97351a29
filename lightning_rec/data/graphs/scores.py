"""How far a triple is from being true: TransE and RotatE, with the losses of their papers.

Shapes: E entities, R relations, D their width, B triples, n negatives of each.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY = torch.finfo(torch.float32).tiny
SPREAD = 2.0  # the ε of RotatE's authors, by which entities begin within (γ + ε) / width


class TripleModel(nn.Module, ABC):
    """Vectors of entities, float [E, D], and of relations; ``margin`` is γ."""

    default_margin: ClassVar[float]
    default_lr: ClassVar[float]  # of Adam
    entity: nn.Parameter
    relation: nn.Parameter

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    @abstractmethod
    def moved(self, vectors: Tensor, relation: Tensor, *, back: bool) -> Tensor:
        """Where tails should be, of the vectors of heads; with ``back`` heads, of those of tails.

        ``vectors``: float [B, D]; ``relation``: int64 [B]. Gives float [B, D].
        """

    @abstractmethod
    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The distance of vectors, float [..., D]: [...]."""

    @abstractmethod
    def loss(self, true: Tensor, false: Tensor, weight: Tensor) -> Tensor:
        """The loss, scalar, of distances of triples, float [B], and of their negatives, [B, n];
        ``weight``: float [B].
        """

    def before_step(self) -> None:
        """Called before each step."""

    def forward(self, triples: Tensor, entities: Tensor, *, back: bool) -> Tensor:
        """Distances of triples, int64 [B, 3], with other tails, or with ``back`` other heads,
        ``entities``, int64 [B, n]: float [B, n].
        """
        known = self.entity[triples[:, 2 if back else 0]]
        return self.apart(
            self.moved(known, triples[:, 1], back=back)[:, None],
            F.embedding(entities, self.entity),
        )


class TransE(TripleModel):
    """A relation is a translation: ``|h + r - t|`` (Bordes et al., NeurIPS 2013, equation 1).

    The loss is ``max(0, γ + d - d')``, the mean over pairs of a triple and a negative; before each
    step entities are put on the unit sphere (algorithm 1). ``norm``: 1 or 2.
    """

    default_margin = 1.0
    default_lr = 0.005

    def __init__(
        self, entities: int, relations: int, width: int, margin: float, norm: int = 1
    ) -> None:
        super().__init__(margin)
        self.norm = norm
        edge = 6 / width**0.5
        self.entity = nn.Parameter(torch.empty(entities, width).uniform_(-edge, edge))
        drawn = torch.empty(relations, width).uniform_(-edge, edge)
        self.relation = nn.Parameter(F.normalize(drawn, dim=1))

    def moved(self, vectors: Tensor, relation: Tensor, *, back: bool) -> Tensor:
        """``h + r``, or ``t - r``."""
        by = self.relation[relation]
        return vectors - by if back else vectors + by

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The norm of the difference."""
        return torch.linalg.vector_norm(one - other, ord=self.norm, dim=-1)

    def loss(self, true: Tensor, false: Tensor, weight: Tensor) -> Tensor:
        """Equation 1; all triples weigh alike."""
        return F.relu(self.margin + true[:, None] - false).mean()

    @torch.no_grad()
    def before_step(self) -> None:
        """Put entities on the unit sphere."""
        self.entity.copy_(F.normalize(self.entity, dim=1))


class RotatE(TripleModel):
    """A relation is a rotation in the complex plane: ``|h ∘ r - t|`` (Sun et al., ICLR 2019).

    The first half of an entity's vector is its real part. The loss is equation 5, negatives weighed
    by equation 4, ``temperature`` its α, without a gradient; triples by how rare they are, as in
    the authors' code.
    """

    default_margin = 9.0
    default_lr = 0.02

    def __init__(
        self, entities: int, relations: int, width: int, margin: float, temperature: float = 1.0
    ) -> None:
        super().__init__(margin)
        self.temperature = temperature
        edge = (margin + SPREAD) / (width // 2)
        self.entity = nn.Parameter(torch.empty(entities, width).uniform_(-edge, edge))
        drawn = torch.empty(relations, width // 2).uniform_(-torch.pi, torch.pi)
        self.relation = nn.Parameter(drawn)  # phases

    def moved(self, vectors: Tensor, relation: Tensor, *, back: bool) -> Tensor:
        """Rotated by the phases, or back."""
        phase = self.relation[relation]
        cos, sin = phase.cos(), -phase.sin() if back else phase.sin()
        real, imaginary = vectors.chunk(2, dim=-1)
        return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """The sum of the moduli of the difference."""
        real, imaginary = (one - other).chunk(2, dim=-1)
        # A norm over two numbers is slow; the least number keeps the gradient of 0 from being none.
        return (real.square() + imaginary.square()).clamp(min=TINY).sqrt().sum(dim=-1)

    def loss(self, true: Tensor, false: Tensor, weight: Tensor) -> Tensor:
        """Equation 5, half of it, as in the authors' code."""
        chance = F.softmax((self.margin - false).detach() * self.temperature, dim=1)
        negative = (chance * F.logsigmoid(false - self.margin)).sum(dim=1)
        each = F.logsigmoid(self.margin - true) + negative
        return -(weight * each).sum() / weight.sum() / 2
