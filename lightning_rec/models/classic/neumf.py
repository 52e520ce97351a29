"""NeuMF: matrix factorisation and a multi-layer perceptron, side by side.

He et al., Neural Collaborative Filtering, WWW 2017, arXiv:1708.05031. Shapes: M queries, n items,
D = dim, E = D · 2^(depth - 1), the width of the perceptron's vectors.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.classic.parts import UserItemModel, users_at
from lightning_rec.ranges import Layers

BLOCK_BYTES = 8 * 2**20  # of the widest layer, for the items that are scored at once


class NeuMF(UserItemModel):
    """A score made of two: p·q weighted by h (GMF), and a tower over [p', q'] (section 3.4).

    The tower's first layer over a user's and an item's vector is the sum of a layer over each, so
    the half of the user is made once, and is a part of the query. Both parts learn together from
    the start; the paper can also train each alone first. A user without training events is asked
    for as the mean of all users.

    Args:
        dim: the paper's predictive factors: width of GMF's vectors and of the tower's last layer.
        depth: layers of the tower, each half as wide as the one before.
    """

    def __init__(self, schema: Schema, dim: PositiveInt = 16, depth: Layers = 3) -> None:
        super().__init__(schema)
        wide = dim * 2 ** (depth - 1)
        self.dim = dim
        self.user_gmf = nn.Embedding(schema.num_users, dim)
        self.item_gmf = nn.Embedding(schema.num_items, dim)
        self.user_tower = nn.Embedding(schema.num_users, wide)
        self.item_tower = nn.Embedding(schema.num_items, wide)
        self.first_user = nn.Linear(wide, wide)
        self.first_item = nn.Linear(wide, wide, bias=False)
        widths = [wide >> layer for layer in range(depth)]
        self.tower = nn.ModuleList(nn.Linear(w, w // 2) for w in widths[:-1])
        self.output_gmf = nn.Parameter(torch.empty(dim))  # the paper's h, in two halves
        self.output_tower = nn.Parameter(torch.empty(dim))
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        bound = (3 / dim) ** 0.5  # of 2 D inputs and one output, after LeCun
        for half in (self.output_gmf, self.output_tower):
            nn.init.uniform_(half, -bound / 2**0.5, bound / 2**0.5)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The user's vector and half of the first layer: float [M, D + E]."""
        user = users_at(histories, positions)
        gmf, tower = self.user_gmf(user), self.user_tower(user)
        unknown = ~self.known[user, None]
        if not self.training and unknown.any():
            gmf = torch.where(unknown, self.user_gmf.weight[self.known].mean(dim=0), gmf)
            tower = torch.where(unknown, self.user_tower.weight[self.known].mean(dim=0), tower)
        return torch.cat([gmf, self.first_user(tower)], dim=1)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Score some items at a time; see :meth:`SequenceModel.scores`."""
        if items is None:
            items = torch.arange(self.schema.num_items, device=queries.device)
        held = bytes_at_once(queries.device, BLOCK_BYTES)
        step = max(1, held // (4 * max(1, len(queries)) * self.first_user.out_features))
        blocks = [self._score(queries, block) for block in torch.split(items, step, dim=-1)]
        return torch.cat(blocks, dim=-1)

    def _score(self, queries: Tensor, items: Tensor) -> Tensor:
        """Float [M, D + E] and int64 [n] or [M, n] -> float [M, n]."""
        query_gmf, query_tower = queries[:, None].tensor_split([self.dim], dim=-1)  # [M, 1, .]
        gmf = (query_gmf * self.output_gmf * self.item_gmf(items)).sum(dim=-1)
        hidden = F.relu(query_tower + self.first_item(self.item_tower(items)))  # [M, n, E]
        for layer in self.tower:
            hidden = F.relu(layer(hidden))
        return gmf + hidden @ self.output_tower  # hidden: [M, n, D]
