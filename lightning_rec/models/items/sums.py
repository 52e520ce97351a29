"""Items known by several things at once: the sum of several encoders, or a mixture that is learnt.

Shapes: n = codes asked for at once, D = dim, P encoders.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lightning_rec.data.split import Schema
from lightning_rec.models.items.base import ComputedItems
from lightning_rec.models.items.ids import OwnVectors
from lightning_rec.models.layers import module_dict


class Sum(ComputedItems):
    """The sum of the vectors that several encoders have of an item.

    Args:
        parts: the P encoders, by name, all of width D.
        gate: weigh them item by item, by a softmax over a learnt linear map of all P vectors, which
            starts with equal weights.
        concat: take a learnt linear map of all P vectors instead, which starts with their sum.
    """

    def __init__(
        self,
        schema: Schema,
        dim: int,
        parts: Mapping[str, ComputedItems],
        gate: bool = False,
        concat: bool = False,
    ) -> None:
        super().__init__(schema, dim)
        self.parts = module_dict(parts)
        self.by_id = any(part.by_id for part in parts.values())
        self.described = tuple(part for part in parts.values() if not part.by_id)  # by all but ids
        for part in parts.values():
            if isinstance(part, OwnVectors) and self.described:
                part.described, part.told_by = self._described, self._told_of
        self.gate = nn.Linear(dim * len(parts), len(parts)) if gate else None
        self.join = nn.Linear(dim * len(parts), dim) if concat else None

    def make_layers(self) -> None:
        """Those of each part."""
        for part in self.parts.values():
            part.make_layers()

    @torch.no_grad()
    def draw_weights(self) -> None:
        """Those of each part."""
        for part in self.parts.values():
            part.draw_weights()
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)
        if self.join is not None:
            self.join.weight.copy_(torch.eye(self.dim).repeat(1, len(self.parts)))
            nn.init.zeros_(self.join.bias)

    def of_codes(self, codes: Tensor) -> Tensor:
        """Int64 [n], rising -> float [n, D]."""
        vectors = [_vectors(part, codes) for part in self.parts.values()]
        if self.join is not None:
            real = (codes != self.num_items)[:, None]  # padding stays 0
            joined: Tensor = self.join(torch.cat(vectors, dim=1))
            return joined * real
        if self.gate is None:
            return sum(vectors[1:], vectors[0])
        weight: Tensor = self.gate(torch.cat(vectors, dim=1)).softmax(dim=1)  # [n, P]
        return (weight[:, :, None] * torch.stack(vectors, dim=1)).sum(dim=1)

    def _described(self, codes: Tensor) -> Tensor:
        """What items are known by but for their ids, summed: int64 [n], rising -> float [n, D]."""
        return torch.stack([_vectors(part, codes) for part in self.described]).sum(dim=0)

    @torch.no_grad()
    def _told_of(self, codes: Tensor) -> Tensor:
        return torch.stack([part.told_of(codes) for part in self.described]).any(dim=0)

    def sparse_gradients(self) -> None:
        """Give the tables of ids among the parts sparse gradients."""
        for part in self.parts.values():
            part.sparse_gradients()

    def freeze_source(self) -> None:
        """Each part keeps what it read as it is now."""
        for part in self.parts.values():
            part.freeze_source()


def _vectors(part: ComputedItems, codes: Tensor) -> Tensor:
    """Vectors of rising codes; in evaluation out of those of all items, which are made once."""
    once = not (part.training or torch.is_grad_enabled())
    made: Tensor = part(codes) if once else part.of_codes(codes)
    return made
