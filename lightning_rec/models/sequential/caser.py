"""Caser: Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding.

Tang and Wang, WSDM 2018, arXiv:1809.07426. Shapes: as in :class:`NeuralSequenceModel`.
"""

from functools import partial

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.items.ids import Ids, Items
from lightning_rec.models.layers import Dropout, gather
from lightning_rec.models.sequential.base import NeuralSequenceModel
from lightning_rec.ranges import BelowOne, Layers


class Caser(NeuralSequenceModel):
    """Convolutions over the latest items as if they were an image, beside a vector of the user.

    Each position asked about gets an image of its own, so a whole sequence is learnt at once. The
    paper also predicts the two items after the next; an objective decides that here, not a model.

    User vectors start at zero (normal in the authors' code). A user without training events, as
    temporal protocols have, so keeps zero and is scored by the items alone, without noise.

    Args:
        length: items in the image (the paper's L); where there were fewer, the rest is zero.
        horizontal: filters of each height from 1 to ``length``.
        vertical: filters over time alone.
        dropout: on what the filters found.
        user_vectors: whether users have vectors; without, the model knows users by their items
            only.
    """

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
        super().__init__(schema, dim, items)
        self.length = length
        self.user = nn.Embedding(schema.num_users, dim) if user_vectors else None
        self.horizontal = nn.ModuleList(
            nn.Linear(height * dim, horizontal) for height in range(1, length + 1)
        )
        self.vertical = nn.Linear(length, vertical)
        self.dropout = Dropout(dropout)
        self.join = nn.Linear(horizontal * length + vertical * dim, dim)
        # One half of an item's output vector meets the items of the history, one the user.
        self.output = nn.Embedding(schema.num_items, 2 * dim if user_vectors else dim)
        self.output_bias = nn.Parameter(torch.zeros(schema.num_items))
        self.item.initialise(partial(nn.init.normal_, std=1 / dim))
        nn.init.normal_(self.output.weight, std=1 / self.output.embedding_dim)
        if self.user is not None:
            nn.init.zeros_(self.user.weight)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """Queries float [M, 2 D] (without user vectors [M, D]): sections 3.1 to 3.3."""
        length = histories.items.shape[1]
        before_BLD = F.pad(self.embedded(histories), (0, 0, self.length - 1, 0))
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


def shifted(x: Tensor, number: int, length: int) -> list[Tensor]:
    """``number`` stretches of x, float [B, at least length + number - 1, D]: the first from 0."""
    return [x[:, start : start + length] for start in range(number)]
