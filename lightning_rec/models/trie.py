"""Sequences of codes as a trie in compressed rows: the children of a node lie side by side.

Shapes: V items, m levels.
"""

from collections.abc import Iterator
from typing import NamedTuple, Self

import torch
from torch import Tensor


class Trie(NamedTuple):
    """All ids, level by level; nodes of a level are numbered in the order of their codes.

    tokens: of each level from 0 on, the last code of its nodes, int64 [nodes]; level 0 is the root.
    parents: the node of the level before, likewise.  starts: of each level but the last, where the
    children of a node begin in the next one, int64 [nodes + 1].
    leaf: int64 [V], the node of the last level that an item is.  items: how many items a leaf is.
    """

    tokens: tuple[Tensor, ...]
    parents: tuple[Tensor, ...]
    starts: tuple[Tensor, ...]
    leaf: Tensor
    items: Tensor

    @classmethod
    def of(cls, codes: Tensor) -> Self:
        """That of the ids of V items, int64 [V, m]."""
        ids, leaf, items = torch.unique(codes, dim=0, return_inverse=True, return_counts=True)
        root = torch.zeros(1, dtype=torch.int64, device=codes.device)
        tokens, parents, starts = [root], [root], []
        node = torch.zeros(len(ids), dtype=torch.int64, device=codes.device)  # above each leaf
        for level in range(ids.shape[1]):
            column = ids[:, level]
            new = torch.ones(len(ids), dtype=torch.bool, device=codes.device)
            new[1:] = (node[1:] != node[:-1]) | (column[1:] != column[:-1])
            above = node[new]
            bounds = torch.arange(len(tokens[-1]) + 1, device=codes.device)
            starts.append(torch.searchsorted(above, bounds))
            tokens.append(column[new])
            parents.append(above)
            node = new.cumsum(0) - 1
        return cls(tuple(tokens), tuple(parents), tuple(starts), leaf, items)

    @property
    def levels(self) -> int:
        """M."""
        return len(self.starts)

    def parts(self, leaves: int) -> Iterator[tuple[int, int]]:
        """Ranges of nodes of level 1, each with so many leaves below, or a single node."""
        below = torch.arange(len(self.tokens[1]) + 1, device=self.leaf.device)
        for start in self.starts[1:]:
            below = start[below]
        ends, first = below.tolist(), 0
        for node in range(1, len(ends)):
            if node == len(ends) - 1 or ends[node + 1] - ends[first] > leaves:
                yield first, node
                first = node
