"""XSimGCL: LightGCN with noise on its layers, two of which are contrasted.

Yu et al., XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation, TKDE
2023, arXiv:2209.02544, as in Coder-Yu/SELFRec. Shapes: as in :class:`LightGCN`.
"""

from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.models.classic.lightgcn import LightGCN
from lightning_rec.ranges import Layers


class XSimGCL(LightGCN):
    """Vectors summed over neighbours; the mean is of the layers without the 0-th.

    In training each layer is moved by ``noise`` in a random direction of its own orthant. To the
    loss comes ``weight`` times the contrast of the mean with ``layer``, of the users and items of a
    batch: each has to find itself among the others.

    Args:
        layer: the paper's l*, which the mean is contrasted with.
        noise: the paper's ε, the length of the noise.
        temperature: the paper's τ.
        weight: the paper's λ, of the contrast. The authors have 0.2 for Yelp2018;
            search for it on another log.
        l2: of the norm of the batch's users, and of its items (not squared, as in the authors'
            code).

    Raises UserError if there is no such ``layer``.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        layer: PositiveInt = 1,
        noise: NonNegativeFloat = 0.2,
        temperature: PositiveFloat = 0.15,
        weight: NonNegativeFloat = 0.02,
        l2: NonNegativeFloat = 1e-4,
    ) -> None:
        super().__init__(schema, dim, depth, l2=0.0)
        if layer > depth:
            raise UserError(f"model.layer={layer} is one of model.depth={depth} layers.")
        self.layer, self.noise, self.temperature = layer, noise, temperature
        self.weight, self.norm = weight, l2
        for part in self.node.weight.data.split([schema.num_users, schema.num_items]):
            nn.init.xavier_uniform_(part)
        self._contrasted: Tensor | None = None  # the layer of this training step
        self._batch: tuple[Tensor, Tensor] | None = None  # its users, int64 [B], and items

    def begin_step(self, histories: Histories) -> None:
        """Note whom and what the step is about; see :meth:`SequenceModel.begin_step`."""
        super().begin_step(histories)
        there = histories.items < self.schema.num_items
        users = histories.user[:, None].expand_as(there)
        self._batch = users[there], histories.items[there]

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """The contrast of the step, and what its vectors cost, weighted: scalar."""
        if self._batch is None or self._step is None:
            return 0.0
        assert self._contrasted is not None
        cost: Tensor | float = 0.0
        first = 0
        for codes, size in zip(
            self._batch, (self.schema.num_users, self.schema.num_items), strict=True
        ):
            nodes = first + codes
            different = torch.unique(nodes)
            one, other = self._step[different], self._contrasted[different]
            cost = cost + self.weight * contrast(one, other, self.temperature)
            cost = cost + self.norm * self._step[nodes].norm() / len(nodes)
            first += size
        self._batch = None
        return cost

    def propagate(self) -> Tensor:
        """See :meth:`Propagating.propagate`; training keeps the layer that is contrasted."""
        layer, layers, graph = self.node.weight.float(), [], self.graph.torch()
        with torch.autocast(layer.device.type, enabled=False):  # sparse products know 32 bits alone
            for _ in range(self.depth):
                layer = _Neighbours.apply(layer, graph)  # type: ignore[no-untyped-call]
                if self.training:
                    direction = F.normalize(torch.rand_like(layer), dim=1)
                    layer = layer + layer.sign() * direction * self.noise
                layers.append(layer)
        if self.training:
            self._contrasted = layers[self.layer - 1]
        return torch.stack(layers).mean(dim=0)


class _Neighbours(torch.autograd.Function):
    """The product with a symmetric sparse matrix, which is its own gradient."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, graph: Tensor) -> Tensor:
        ctx.graph = graph
        return graph @ vectors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.graph @ grad, None


def contrast(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """InfoNCE of the cosines of two views, float [n, D] each, row by row a pair: scalar."""
    alike = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / temperature
    return F.cross_entropy(alike, torch.arange(len(one), device=one.device))
