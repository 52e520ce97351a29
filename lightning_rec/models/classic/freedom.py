"""FREEDOM: LightGCN over a thinned graph of users and items, beside a frozen graph of alike items.

Zhou and Shen, A Tale of Two Graphs: Freezing and Denoising Graph Structures for Multimodal
Recommendation, ACM MM 2023, arXiv:2211.06924, as in enoche/FREEDOM. Shapes: U = num_users, V =
num_items, S edges, D = dim, P things that items are known by, k neighbours, M queries, n items.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError, listed
from lightning_rec.models.classic.graphs import Alike, bipartite, drawn_edges
from lightning_rec.models.classic.parts import Sparse, training_matrix
from lightning_rec.models.classic.propagating import Propagating, propagated
from lightning_rec.models.events import event_vectors
from lightning_rec.models.items.base import BLOCK_ITEMS, ComputedItems, ItemEncoder
from lightning_rec.models.items.features import FeatureItems
from lightning_rec.models.items.ids import Items
from lightning_rec.models.items.sums import Sum
from lightning_rec.models.items.vectors import Projected
from lightning_rec.needs import Need
from lightning_rec.ranges import BelowOne, Layers

EVENT_VECTORS = 64  # width of vectors of events, where nothing describes items


class FREEDOM(Propagating):
    """Vectors of users and items summed over neighbours in the log, and items' over alike items.

    An item's vector is the mean of LightGCN's layers plus what ``item_depth`` means over its
    neighbours make of its own: the k items, itself among them, of highest cosine by what ``item=``
    says of them (equations 1 to 4). That graph is made once, before anything is learnt, and of the
    items with training events alone the vectors start as drawn ones; of others, at 0. The log's
    graph loses a share of its edges, drawn anew for each epoch, those of high degrees first
    (equation 6); evaluation has all. With ``item=[images,text]`` or the like each part has a graph
    and a term of its own; with ``item=ids`` items are alike by who had them, and there is no term.

    The authors' code goes on to train what describes the items; here it stays as it was read.

    Args:
        depth: layers over users and items.
        item_depth: layers over alike items.
        neighbours: the paper's k.
        dropout: the paper's ρ, the share of edges left out in an epoch.
        weight: the paper's λ, of BPR between the users and a learnt map of what describes items.
        shares: of the parts' graphs in their sum, by name, such as ``{images: 0.1, text: 0.9}``;
            None: equal ones.

    Raises UserError if items are known by their ids besides, or ``shares`` names other parts.
    """

    bundled: ClassVar[Mapping[str, Any]] = {"weight": 0}  # of a term that only training has
    seed: Tensor  # int64 scalar, of the edges that are left out in this epoch

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        depth: Layers = 2,
        item_depth: Layers = 1,
        neighbours: PositiveInt = 10,
        dropout: BelowOne = 0.8,
        weight: NonNegativeFloat = 0.001,
        shares: Mapping[str, NonNegativeFloat] | None = None,
        items: Items | None = None,
    ) -> None:
        super().__init__(schema)
        self.depth, self.item_depth, self.dropout, self.weight = depth, item_depth, dropout, weight
        self.user = nn.Embedding(schema.num_users, dim)
        self.own = nn.Embedding(schema.num_items, dim)
        self.item = None if items is None else items(schema, dim)
        for table in (self.user.weight, self.own.weight):
            nn.init.xavier_uniform_(table)
        if self.item is not None:
            self.item.initialise(nn.init.xavier_uniform_)
        parts = parts_of(self.item)
        self.shares = shares_of(shares, [*parts])
        self.alike = Alike(max(1, len(parts)), schema.num_items, neighbours)
        self.edges = Sparse(schema.num_users, schema.num_items)
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))
        self._due = False  # whether an epoch has begun without its edges
        self._graphs: dict[bool, tuple[object, Tensor]] = {}
        self._drawn: Tensor | None = None  # items that targets are compared with, int64 [M, n]

    @property
    def apart(self) -> dict[str, ComputedItems]:
        """What stands apart in a bundle, by name: each thing that items are known by."""
        return parts_of(self.item)

    @property
    def needs(self) -> list[Need]:
        """A loss that draws items, which its own term is about as well."""
        if not (self.weight and parts_of(self.item)):
            return super().needs
        why = "compares what describes items with that of drawn ones"
        return [*super().needs, Need("loss", "draws", why)]

    @torch.no_grad()
    def fit(self, split: Split) -> None:
        """Take the log's graph; without more to know items by, find who is alike by events."""
        self.edges.keep(training_matrix(split))
        self.own.weight[torch.from_numpy(split.train_counts == 0)] = 0
        if self.item is None:
            self.alike.near.fill_(-1)
            self.alike.find([event_vectors(split, EVENT_VECTORS).to(self.own.weight.device)])
        self._graphs, self._cache = {}, None

    def begin_epoch(self) -> None:
        """Let the next training step draw the edges; see :meth:`SequenceModel.begin_epoch`."""
        self._due = True

    def begin_step(self, histories: Histories) -> None:
        """Nothing is read of items before the penalty; see :meth:`SequenceModel.begin_step`."""
        self._drawn = None

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """See :meth:`Propagating.forward`; the first step of an epoch draws its edges."""
        if self.training and self._due:
            self.seed.copy_(torch.randint(2**62, ()))
            self._due = False
        return super().forward(histories, positions)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Inner products; what was asked last in training is what targets are compared with."""
        if self.training:
            self._drawn = items
        return super().scores(queries, items)

    def penalty(self, queries: Tensor, targets: Tensor) -> Tensor | float:
        """BPR of what describes items, of each part, weighted: scalar. See :class:`Penalised`.

        Raises UserError if nothing was drawn for each query, or for all.
        """
        parts, drawn, self._drawn = parts_of(self.item), self._drawn, None
        if not (self.weight and parts):
            return 0.0
        if drawn is None or torch.equal(drawn, targets[:, None]):
            raise UserError(
                "model=freedom compares items that are drawn for each query, or for all: say "
                "loss.shared=none or batch, or model.weight=0."
            )
        cost: Tensor | float = 0.0
        drawn = drawn.expand(len(targets), -1)
        for part in parts.values():
            known = part(torch.cat([targets[:, None], drawn], dim=1))  # [M, 1 + n, D]
            right, wrong = torch.linalg.vecdot(queries[:, None], known).split(
                [1, drawn.shape[1]], dim=1
            )
            cost = cost + self.weight * F.softplus(wrong - right).mean()
        return cost

    def events(self) -> Tensor:
        """See :meth:`Propagating.events`."""
        return self.edges.indptr.diff()

    def propagate(self) -> Tensor:
        """See :meth:`Propagating.propagate`."""
        if not self.alike.whole:
            self._find()
        nodes = torch.cat([self.user.weight, self.own.weight])
        users, items = propagated(nodes, self._graph(), self.depth).split(
            [self.schema.num_users, self.schema.num_items]
        )
        alike = self.own.weight
        for _ in range(self.item_depth):
            alike = self.alike(alike, self.shares)
        return torch.cat([users, items + alike])

    @torch.no_grad()
    def _find(self) -> None:
        """Find the neighbours of items that have none yet, by what was read of all of them."""
        training = {module: module.training for module in self.modules()}
        self.eval()  # a language model that is tuned has dropout
        self.alike.find([describing(part) for part in parts_of(self.item).values()])
        for module, mode in training.items():
            module.training = mode

    def _graph(self) -> Tensor:
        """The log's graph, thinned in training: sparse float [U + V, U + V], symmetric."""
        thin = self.training and self.dropout > 0
        buffers = (self.edges.indices, self.seed) if thin else (self.edges.indices,)
        state = tuple((each.data_ptr(), each._version) for each in buffers)
        if thin not in self._graphs or self._graphs[thin][0] != state:
            indptr, item = self.edges.indptr, self.edges.indices.long()
            user = torch.repeat_interleave(indptr.diff())
            if thin:
                kept = drawn_edges(user, item, self.dropout, int(self.seed))
                user, item = user[kept], item[kept]
            self._graphs[thin] = state, bipartite(user, item, *self.edges.shape)
        return self._graphs[thin][1]


def parts_of(encoder: ItemEncoder | None) -> dict[str, ComputedItems]:
    """What items are known by, by name. Raises UserError where ids are among it."""
    if encoder is None:
        return {}
    if encoder.by_id:
        raise UserError(
            "model=freedom has a vector of each item's own: say item=text, images, vectors or "
            "features, or several of them, and leave ids out."
        )
    assert isinstance(encoder, ComputedItems)
    return {**encoder.parts} if isinstance(encoder, Sum) else {"known": encoder}


def shares_of(shares: Mapping[str, float] | None, names: list[str]) -> list[float]:
    """The share of each part, of a sum of 1. Raises UserError where other parts are named."""
    if shares is None:
        return [1 / max(1, len(names))] * max(1, len(names))
    if len(names) < 2 or {*shares} != {*names} or not sum(shares.values()):
        told = listed(names) if len(names) > 1 else "one thing"
        raise UserError(
            f"model.shares={dict(shares)}: items are known by {told}. Give each part of "
            "item=[images,text] or the like a share, one of them above 0; null: equal ones."
        )
    return [shares[name] / sum(shares.values()) for name in names]


def describing(encoder: ComputedItems) -> Tensor:
    """What all items are compared by, float [V, E]: vectors that were read; which item has which
    category, and its numbers; of other encoders what they begin with.
    """
    read: Callable[[Tensor], Tensor] = encoder.of_codes
    if isinstance(encoder, Projected):
        assert encoder.source is not None, "read() comes first"
        read = encoder.source
    elif isinstance(encoder, FeatureItems):
        read = encoder.described
    codes = torch.arange(encoder.num_items, device=encoder.device)
    return torch.cat([read(block) for block in codes.split(BLOCK_ITEMS)])
