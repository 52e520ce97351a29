"""VBPR: BPR-MF with a second inner product, of users and what items look like.

He and McAuley, VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback, AAAI 2016,
arXiv:1510.01784. Shapes: V = num_items, K = dim, D = visual_dim, M queries, n items.
"""

from functools import partial

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import Penalty, UserItemModel, users_at
from lightning_rec.models.items.ids import BARE_IDS, Items
from lightning_rec.models.layers import CachedInEvaluation


class VBPR(CachedInEvaluation, UserItemModel, InnerProduct):
    """The score is β_i + γ_u·γ_i + θ_u·(E f_i) + β'·f_i (equation 4; α + β_u changes no ranking).

    f_i is what ``item=`` says: given vectors, those of pictures or of texts, whose learnt map has E
    and, as its last row, β'; categories, whose vectors are a map of which item has which. An item
    without training events has no γ_i and β_i, and a user without them is ranked for by biases.

    The loss is BPR-Opt with ``loss=bpr``. The paper's λ_E, on E and β', is not here; there is
    the optimizer's weight decay.

    Args:
        dim: the paper's K, of what is learnt of items by themselves.
        visual_dim: the paper's D, of what is made of their vectors.
        l2: the paper's λ_Θ, on the squares of what a batch reads of γ, θ and β.
        items: makes the item encoder, of width D + 1.
    """

    known: Tensor

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        visual_dim: PositiveInt = 64,
        l2: NonNegativeFloat = 0.01,
        items: Items = BARE_IDS,
    ) -> None:
        super().__init__(schema)
        self.user = nn.Embedding(schema.num_users, dim + visual_dim)  # γ_u, then θ_u
        self.own = nn.Embedding(schema.num_items, dim)
        self.bias = nn.Parameter(torch.zeros(schema.num_items))
        self.item = items(schema, visual_dim + 1)
        self.l2 = Penalty(l2)
        draw = partial(nn.init.normal_, std=0.1)
        draw(self.user.weight)
        draw(self.own.weight)
        self.item.initialise(draw)

    @torch.no_grad()
    def fit(self, split: Split) -> None:
        """Mark users with training events, and let items without any be known by f_i alone."""
        super().fit(split)
        self.own.weight[torch.from_numpy(split.train_counts == 0)] = 0

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """γ_u and θ_u, float [M, K + D]; histories play no part."""
        user = users_at(histories, positions)
        vectors = self.user(user)
        if self.training:
            self.l2.begin(vectors)
        return vectors * self.known[user, None]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """γ_i and E f_i, float [n, K + D], and β_i + β'·f_i, float [n]."""
        whole = items is None and not torch.is_grad_enabled()
        made = self.cached(self._made) if whole else self._made(items)
        return ItemVectors(made[:, :-1], made[:, -1])

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """What the vectors of this step cost, scalar; see :class:`Penalised`."""
        return self.l2.take()

    def _made(self, items: Tensor | None = None) -> Tensor:
        """Vectors and, last, biases of some items, int64 [n], or of all: float [n, K + D + 1]."""
        seen = self.item.table() if items is None else self.item(items)
        own = self.own.weight if items is None else self.own(items)
        bias = (self.bias if items is None else self.bias[items])[:, None]
        if self.training:
            self.l2.add(torch.cat([own, bias], dim=1))
        return torch.cat([own, seen[:, :-1], seen[:, -1:] + bias], dim=1)
