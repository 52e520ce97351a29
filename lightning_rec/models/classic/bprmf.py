"""BPR-MF: matrix factorisation that learns from pairs, an item of the user before another one.

Rendle et al., BPR: Bayesian Personalized Ranking from Implicit Feedback, UAI 2009,
arXiv:1205.2618. Shapes: M queries, D = dim.
"""

from functools import partial

from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from lightning_rec.data.split import Histories, Schema
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.classic.parts import Penalty, UserItemModel, users_at
from lightning_rec.models.items.ids import BARE_IDS, Items


class BPRMF(UserItemModel, InnerProduct):
    """Vectors of users and items, and a bias for each item (section 4.3.1).

    The loss is BPR-Opt (section 4.1) with ``loss=bpr``. A user without training events has no
    vector; the biases rank for them, which is about popularity.

    Args:
        l2: the paper's λ, on the squares of the vectors that a batch reads.
        items: makes the item encoder; the default is a table of ids.
    """

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        l2: NonNegativeFloat = 0.01,
        items: Items = BARE_IDS,
    ) -> None:
        super().__init__(schema)
        self.user = nn.Embedding(schema.num_users, dim)
        self.item = items(schema, dim)
        self.bias = self.item.new_bias()
        self.l2 = Penalty(l2)
        draw = partial(nn.init.normal_, std=0.1)
        draw(self.user.weight)
        self.item.initialise(draw)

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The user's vector: float [M, D]; histories play no part."""
        user = users_at(histories, positions)
        vectors = self.user(user)
        if self.training:
            self.l2.begin(vectors)
        return vectors * self.known[user, None]

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """Vectors float [n, D] and biases float [n]."""
        weight = self.item.table() if items is None else self.item(items)
        if self.training:
            self.l2.add(weight)
        return ItemVectors(weight, self.bias if items is None else self.bias[items])

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """What the vectors of this step cost, scalar; see :class:`Penalised`."""
        return self.l2.take()
