"""Graphs that models propagate over: of alike items, and of users and items, thinned.

Shapes: U users, V items, S edges, P things that items are known by, k neighbours, E = width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.models.classic.parts import BLOCK_BYTES


class Alike(nn.Module):
    """The k nearest items of each item, itself among them, by each of P things: a graph whose rows
    have k equal values, which the authors' normalisation makes 1 / k.

    What is loaded may be of fewer items, the first ones: the others' neighbours are to be found.
    """

    near: Tensor  # int64 [P, V, k], -1 before they are found

    def __init__(self, parts: int, items: int, neighbours: int) -> None:
        super().__init__()
        none = torch.full((parts, items, min(neighbours, items)), -1, dtype=torch.int64)
        self.register_buffer("near", none)
        self._whole: tuple[int, int] | None = None

    def forward(self, vectors: Tensor, shares: list[float]) -> Tensor:
        """The mean over neighbours, float [V, D] -> [V, D], of all parts by their shares."""
        pairs = zip(shares, self.near, strict=True)
        made = [share * F.embedding_bag(near, vectors, mode="mean") for share, near in pairs]
        return sum(made[1:], made[0])

    @property
    def whole(self) -> bool:
        """Whether each item has its neighbours."""
        state = self.near.data_ptr(), self.near._version
        if self._whole != state and bool((self.near >= 0).all()):
            self._whole = state
        return self._whole == state

    def find(self, described: list[Tensor]) -> None:
        """Find those of the items that have none yet, by vectors of all: P times float [V, E]."""
        items = (self.near[0, :, 0] < 0).nonzero()[:, 0]
        for near, vectors in zip(self.near, described, strict=True):
            near[items] = nearest(vectors, near.shape[1], items)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(f"{prefix}near")
        if saved is not None:
            more = max(0, self.near.shape[1] - saved.shape[1])
            state_dict = {**state_dict, f"{prefix}near": F.pad(saved, (0, 0, 0, more), value=-1)}
        super()._load_from_state_dict(state_dict, prefix, *rest)


def nearest(vectors: Tensor, number: int, items: Tensor) -> Tensor:
    """The ``number`` items of highest cosine with each of ``items``, int64 [n]: int64 [n, number].

    ``vectors``: float [V, E]. An item whose vector is 0 has itself alone, and is nobody else's.
    """
    length = vectors.norm(dim=1, keepdim=True)
    unit, there = vectors / length.clamp(min=torch.finfo(length.dtype).tiny), length[:, 0] > 0
    found = []
    for rows in items.split(max(1, BLOCK_BYTES // (4 * len(vectors)))):
        alike = (unit[rows] @ unit.T).masked_fill(~there, -torch.inf)
        value, item = alike.topk(number, dim=1)
        alone = (value == -torch.inf) | ~there[rows, None]
        found.append(torch.where(alone, rows[:, None], item))
    return torch.cat(found)


def weights_of(user: Tensor, item: Tensor) -> Tensor:
    """One over the root of both degrees of each edge, float [S]."""
    of_user, of_item = (torch.bincount(each)[each] for each in (user, item))
    return (of_user * of_item).float().rsqrt()


def drawn_edges(user: Tensor, item: Tensor, dropout: float, seed: int) -> Tensor:
    """Edges that are kept, a multinomial draw by their weights without return: int64, rising.

    By exponential races, as ``torch.multinomial``, which knows 2^24 edges at most.
    """
    weight = weights_of(user, item).cpu()
    chance = torch.empty_like(weight).exponential_(generator=torch.Generator().manual_seed(seed))
    kept = (weight / chance).topk(int(len(weight) * (1.0 - dropout))).indices
    return kept.sort().values.to(user.device)


def bipartite(user: Tensor, item: Tensor, users: int, items: int) -> Tensor:
    """D^-1/2 A D^-1/2 of edges in the order of users, int64 [S]: sparse [U + V, U + V]."""
    value, by_item = weights_of(user, item), item.argsort(stable=True)
    degrees = torch.bincount(user, minlength=users), torch.bincount(item, minlength=items)
    indptr = F.pad(torch.cat(degrees).cumsum(0), (1, 0))
    columns = torch.cat([item + users, user[by_item]])
    values = torch.cat([value, value[by_item]])
    size = (users + items, users + items)
    return torch.sparse_csr_tensor(
        indptr.int(), columns.int(), values, size, check_invariants=False
    )
