"""Caser: Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding.

Tang and Wang, WSDM 2018, arXiv:1809.07426. Shapes: B sequences, L places, T = length, D = dim,
V = num_items, M queries.
"""

from functools import partial
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.batches import Histories
from lightning_rec.data.split import Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.items.base import Items
from lightning_rec.models.items.ids import Ids
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.ranges import BelowOne, Layers


class Caser(InnerProduct):
    """Filters over the latest items as if they were an image, beside a vector of the user.

    Each place asked about gets an image of its own, so a whole sequence is learnt at once. The
    paper also predicts the two items after the next; an objective decides that here, not a model.

    User vectors start at zero (normal in the authors' code). A user without training events, as
    temporal protocols have, so keeps zero and is scored by the items alone, without noise.

    Args:
        schema: number of items and users, codes of padding and mask.
        dim: width of item and user vectors.
        length: items in the image (the paper's L); where there were fewer, the rest is zero.
        horizontal: filters of each height from 1 to ``length``.
        vertical: filters over time alone.
        dropout: on what the filters found.
        user_vectors: whether users have vectors; without, the model knows users by their items
            only.
        items: makes the item encoder.
    """

    objectives: ClassVar[tuple[str, ...]] = ("next_item",)
    second_table = True

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 50,
        length: Layers = 5,
        horizontal: PositiveInt = 16,
        vertical: PositiveInt = 4,
        dropout: BelowOne = 0.5,
        user_vectors: bool = True,
        items: Items = Ids,
    ) -> None:
        super().__init__(schema)
        self.length = length
        self.item = items(schema, dim)
        self.user = nn.Embedding(schema.num_users, dim) if user_vectors else None
        self.horizontal = nn.ModuleList(
            nn.Linear(height * dim, horizontal) for height in range(1, length + 1)
        )
        self.vertical = nn.Linear(length, vertical)
        self.dropout = Dropout(dropout)
        self.join = nn.Linear(horizontal * length + vertical * dim, dim)
        self.output = nn.Embedding(schema.num_items, 2 * dim if user_vectors else dim)
        self.output_bias = nn.Parameter(torch.zeros(schema.num_items))
        self._initialise()

    def _initialise(self) -> None:
        self.item.initialise(partial(nn.init.normal_, std=1 / self.item.dim))
        nn.init.normal_(self.output.weight, std=1 / self.output.embedding_dim)
        if self.user is not None:
            nn.init.zeros_(self.user.weight)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, 2 D] (without user vectors [M, D]): sections 3.1 to 3.3."""
        length = histories.items.shape[1]
        before_BLD = F.pad(self.item(histories.items), (0, 0, self.length - 1, 0))
        unions = [self._unions(before_BLD, length, height) for height in range(1, self.length + 1)]
        points = self.vertical(torch.stack(shifted(before_BLD, self.length, length), dim=-1))
        found = gather(torch.cat([*unions, points.flatten(2)], dim=-1), positions)
        sequence_MD = F.relu(self.join(self.dropout(found)))
        if self.user is None:
            return sequence_MD
        users_BD = self.user(histories.user.clamp(min=0)) * (histories.user >= 0)[:, None]
        users_BLD = users_BD[:, None].expand(-1, length, -1)
        return torch.cat([sequence_MD, gather(users_BLD, positions)], dim=1)

    def _unions(self, before_BLD: Tensor, length: int, height: int) -> Tensor:
        """What filters of one height find in the image of each place: float [B, L, horizontal].

        Images of neighbouring places share most of their stretches of ``height`` items, so each
        stretch is filtered once, and each image takes the best of its own.
        """
        stretches = self.length - height + 1
        items = torch.cat(shifted(before_BLD, height, length + stretches - 1), dim=-1)
        answers = self.horizontal[height - 1](items)
        return F.relu(torch.stack(shifted(answers, stretches, length)).amax(dim=0))

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """A table and a bias of the output's own: one half meets the items, one the user."""
        if items is None:
            return ItemVectors(self.output.weight, self.output_bias)
        return ItemVectors(self.output(items), self.output_bias[items])


def shifted(x: Tensor, number: int, length: int) -> list[Tensor]:
    """``number`` stretches of x, float [B, at least length + number - 1, D]: the first from 0."""
    return [x[:, start : start + length] for start in range(number)]
