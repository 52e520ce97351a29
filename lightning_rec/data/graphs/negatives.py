"""Triples that are not known to be true, drawn beside those that are."""

import torch
from torch import Tensor

DRAWS = 10  # times that a negative is drawn anew because it is true


class Negatives:
    """Draws entities with which a triple is not known."""

    def __init__(self, triples: Tensor, entities: int, number: int) -> None:
        self.entities, self.number = entities, number
        self.relations = int(triples[:, 1].max()) + 1 if len(triples) else 1
        self.known = self._keys(triples).sort().values

    def draw(self, triples: Tensor, *, back: bool) -> Tensor:
        """Tails, or with ``back`` heads, int64 [B, n], for triples int64 [B, 3]."""
        drawn = torch.randint(self.entities, (len(triples), self.number))
        for _ in range(DRAWS):
            made = triples[:, None].repeat(1, self.number, 1)
            made[:, :, 0 if back else 2] = drawn
            key = self._keys(made.view(-1, 3))
            place = torch.searchsorted(self.known, key).clamp(max=len(self.known) - 1)
            true = (self.known[place] == key).view_as(drawn)
            if not true.any():
                break
            drawn[true] = torch.randint(self.entities, (int(true.sum()),))
        return drawn

    def _keys(self, triples: Tensor) -> Tensor:
        head, relation, tail = triples.unbind(dim=1)
        return (head * self.relations + relation) * self.entities + tail
