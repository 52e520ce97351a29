"""KGAT: vectors of users, items and entities summed over a knowledge graph by learnt attention.

Wang et al., KGAT: Knowledge Graph Attention Network for Recommendation, KDD 2019,
arXiv:1905.07854. Shapes: U users, V items, E entities, the first of which are the items, N = U + E
nodes, R relations, the last of which is that of users and items, D = dim, K = relation_dim, S
edges, M queries.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from scipy import sparse
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.negatives import Negatives
from lightning_rec.data.split import Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.lightgcn import LightGCN
from lightning_rec.models.classic.parts import Sparse, training_matrix
from lightning_rec.models.layers import Dropout
from lightning_rec.ranges import BelowOne, Widths


class KGAT(LightGCN):
    """Each layer mixes a node with its neighbours (bi-interaction, equation 8); all are joined.

    A neighbour counts by a softmax over all edges of a node (equation 5) of ``W_r t · tanh(W_r h +
    r)`` (equation 4), computed anew after each epoch; in the first one, as in the authors' code,
    all edges of a node and a relation count alike, and each relation for 1. Before that an epoch
    ends with a phase of its own (section 3.5): TransR's loss over the triples (equation 1), by the
    same optimizer, as in RecBole. As there, too, users and items have one relation in either
    direction, and that phase learns nothing of it.

    Without a graph of the data, or for users without training events, see :class:`LightGCN`.

    Args:
        dim: of users and entities. relation_dim: of relations, and of entities beside them.
        widths: of the layers.
        dropout: of what a layer makes.
        l2: the paper's λ, on the squares of the vectors of a batch, of either phase.
        triples: of a step of the second phase.
    """

    edges: Tensor  # int64 [3, S]: head, relation and tail, in the order of heads, then of tails
    place: Tensor  # int64 [S]: of each edge among the values of the graph
    swapped: Tensor  # int64 [P]: the order of these values by columns, then by rows

    def __init__(
        self,
        schema: Schema,
        dim: PositiveInt = 64,
        relation_dim: PositiveInt = 64,
        widths: Widths = (64,),
        dropout: BelowOne = 0.1,
        l2: NonNegativeFloat = 1e-5,
        triples: PositiveInt = 2048,
    ) -> None:
        super().__init__(schema, dim, len(widths), l2)
        self.relation_dim, self.batch = relation_dim, triples
        before = (dim, *widths)
        self.of_sum = nn.ModuleList(map(nn.Linear, before, widths))  # the paper's W_1
        self.of_product = nn.ModuleList(map(nn.Linear, before, widths))  # and W_2
        self.dropout = Dropout(dropout)
        for layer in (*self.of_sum, *self.of_product):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.facts = torch.zeros(0, 3, dtype=torch.int64)
        for name in ("edges", "place", "swapped"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.int64), persistent=False)
        self._resize(schema.num_items, 1)

    def read_graph(self, graph: KnowledgeGraph) -> None:
        """Take the triples; entities and relations get vectors."""
        self.facts = torch.from_numpy(graph.triples)
        self._resize(graph.num_entities, graph.num_relations + 1)

    def fit(self, split: Split) -> None:
        """Join the triples with the training events, in either direction."""
        users, matrix = self.schema.num_users, training_matrix(split).tocoo()
        user, item = (torch.from_numpy(each.astype(np.int64)) for each in matrix.coords)
        bought = torch.full_like(user, len(self.relation.weight) - 1)
        facts = self.facts + torch.tensor([users, 0, users])
        edges = torch.cat([
            torch.stack([user, bought, item + users]),
            torch.stack([item + users, bought, user]),
            facts.T,
        ], dim=1)  # fmt: skip
        nodes = len(self.node.weight)
        pair = edges[0] * nodes + edges[2]
        order = torch.argsort(pair * len(self.relation.weight) + edges[1])
        self.edges = edges[:, order].to(self.node.weight.device)
        both, self.place = torch.unique(pair[order], return_inverse=True)
        row, column = (both // nodes).numpy(), (both % nodes).numpy()
        shape = (nodes, nodes)
        self.graph.keep(sparse.csr_array((np.ones(len(row)), (row, column)), shape=shape))
        self.swapped = torch.from_numpy(np.lexsort((row, column)))
        # Each relation's edges of a node sum to 1 at first (the authors' initial Laplacian).
        kind = self.edges[0] * len(self.relation.weight) + self.edges[1]
        _, of_kind, count = torch.unique(kind, return_inverse=True, return_counts=True)
        self._weigh(1 / count[of_kind].float())

    def second_phase(self) -> Iterator[Tensor]:
        """Losses, scalars, of steps on the triples, each to be asked for when that before was
        taken; in the end attention is made anew.
        """
        device = self.node.weight.device
        negatives = Negatives(self.facts, len(self.node.weight) - self.schema.num_users, 1)
        for rows in torch.randperm(len(self.facts)).split(self.batch):
            triples = self.facts[rows]
            false = negatives.draw(triples, back=False)
            yield self.triple_loss(triples.to(device), false[:, 0].to(device))
        self.update_attention()

    def triple_loss(self, triples: Tensor, false: Tensor) -> Tensor:
        """The loss, scalar, of triples, int64 [B, 3], and other tails, int64 [B], with λ
        (equation 2).
        """
        users = self.schema.num_users
        head, relation, tail = triples.unbind(dim=1)
        project = self.project(relation).view(-1, self.node.embedding_dim, self.relation_dim)
        nodes = self.node(torch.stack([head, tail, false], dim=1) + users)
        h, t, other = (nodes @ project).unbind(dim=1)  # [B, K] each
        r = self.relation(relation)
        near, far = ((h + r - each).square().sum(dim=1) for each in (t, other))
        cost = sum(each.square().sum(dim=1) for each in (h, r, t, other))
        return F.softplus(near - far).mean() + self.l2.l2 / 2 * torch.as_tensor(cost).mean()

    @torch.no_grad()
    def update_attention(self) -> None:
        """Weigh edges by equations 4 and 5."""
        self._weigh(_shares(self._scores(self.edges), self.edges[0], len(self.node.weight)))

    @torch.no_grad()
    def weigh_triples(self, triples: Tensor) -> Tensor:
        """See :class:`WeighsTriples`. The weights are those that the model answers with: of two
        nodes that several relations join it keeps their sum, which is shared as equation 5 does.
        """
        users, nodes = self.schema.num_users, len(self.node.weight)
        edges = triples.T + torch.tensor([[users], [0], [users]])
        row = torch.repeat_interleave(self.graph.indptr.diff().long())
        kept, pair = row * nodes + self.graph.indices, edges[0] * nodes + edges[2]
        facts = (row >= users) & (self.graph.indices >= users)
        several, of = torch.unique(pair, return_inverse=True)
        relations = len(self.relation.weight) - 1
        if not torch.equal(kept[facts], several) or bool((edges[1] >= relations).any()):
            raise UserError("This is another graph than the one that the run was trained with.")
        return self.graph.values[facts][of] * _shares(self._scores(edges), of, len(several))

    def _scores(self, edges: Tensor) -> Tensor:
        """Equation 4 of edges, int64 [3, S]: float [S]."""
        score = self.node.weight.new_zeros(edges.shape[1])
        for relation in range(len(self.relation.weight)):
            own = (edges[1] == relation).nonzero()[:, 0]
            used, place = torch.unique(edges[::2, own], return_inverse=True)
            project = self.project.weight[relation].view(-1, self.relation_dim)
            h, t = (self.node.weight[used] @ project)[place]
            score[own] = torch.linalg.vecdot(t, (h + self.relation.weight[relation]).tanh())
        return score

    def _weigh(self, weight: Tensor) -> None:
        """Give edges their weights, float [S]; several between two nodes are added."""
        values = weight.new_zeros(len(self.graph.indices))
        self.graph.values = values.index_add_(0, self.place.to(weight.device), weight)
        self._cache = self._step = None

    def _resize(self, entities: int, relations: int) -> None:
        """Draw the vectors of nodes and relations anew, for so many."""
        users, dim = self.schema.num_users, self.node.embedding_dim
        nodes = users + entities
        self.node = nn.Embedding(nodes, dim)
        self.relation = nn.Embedding(relations, self.relation_dim)
        self.project = nn.Embedding(relations, dim * self.relation_dim)  # W_r, [D, K] each
        self.graph = Sparse(nodes, nodes)
        of_nodes = self.node.weight.data.split([users, entities])
        for table in (*of_nodes, self.relation.weight, self.project.weight):
            nn.init.xavier_normal_(table)

    def _penalised(self, nodes: Tensor) -> Tensor:
        return F.embedding(nodes, self.made())

    def propagate(self) -> Tensor:
        """The 0-th layer of users and items, and the others at length 1, joined: float [U + V, D +
        widths]. Nobody asks for other entities, so that the last layer is not made of them.
        """
        layer, asked = self.node.weight, self.schema.num_users + self.schema.num_items
        made = [layer[:asked]]
        for place, (of_sum, of_product) in enumerate(
            zip(self.of_sum, self.of_product, strict=True), 1
        ):
            rows = asked if place == self.depth else len(layer)
            around, own = self._around(layer, rows), layer[:rows]
            layer = F.leaky_relu(of_sum(own + around)) + F.leaky_relu(of_product(own * around))
            layer = self.dropout(layer)
            made.append(F.normalize(layer[:asked], dim=1))
        return torch.cat(made, dim=1)

    def _around(self, layer: Tensor, rows: int) -> Tensor:
        """Weighed sums of neighbours, of the first ``rows`` nodes: float [rows, D]."""
        starts, nodes = self.graph.indptr[: rows + 1], len(layer)
        number = int(starts[-1])
        graph = torch.sparse_csr_tensor(
            starts, self.graph.indices[:number], self.graph.values[:number], (rows, nodes),
            check_invariants=False,
        )  # fmt: skip
        with torch.autocast(layer.device.type, enabled=False):  # sparse products know 32 bits alone
            if not torch.is_grad_enabled():
                return graph @ layer.float()
            by_column = self.swapped if rows == nodes else self.swapped[self.swapped < number]
            found: Tensor = _Product.apply(layer.float(), graph, by_column)  # type: ignore[no-untyped-call]
            return found

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Entities and relations come with the weights of a run."""
        nodes, relations = (state_dict.get(f"{prefix}{n}.weight") for n in ("node", "relation"))
        if nodes is not None and relations is not None and len(nodes) != len(self.node.weight):
            device = self.node.weight.device
            self._resize(len(nodes) - self.schema.num_users, len(relations))
            self.to(device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _shares(score: Tensor, group: Tensor, number: int) -> Tensor:
    """The softmax of scores, float [S], over those of each of ``number`` groups, int64 [S]."""
    highest = score.new_full((number,), -torch.inf).scatter_reduce_(0, group, score, "amax")
    share = (score - highest[group]).exp()
    return share / share.new_zeros(number).index_add_(0, group, share)[group]


class _Product(torch.autograd.Function):
    """The product of a sparse matrix and a dense one, whose gradient is that of the latter.

    ``swapped``: int64 [P], the order of the values by columns, by which the transpose is made.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, graph: Tensor, swapped: Tensor) -> Tensor:
        ctx.graph, ctx.swapped = graph, swapped
        return graph @ vectors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        graph, swapped = ctx.graph, ctx.swapped
        column = graph.col_indices()
        starts = F.pad(torch.bincount(column, minlength=graph.shape[1]).cumsum(0), (1, 0))
        row = torch.repeat_interleave(graph.crow_indices().diff().long())
        transposed = torch.sparse_csr_tensor(
            starts.to(column.dtype), row[swapped].to(column.dtype), graph.values()[swapped],
            graph.shape[::-1], check_invariants=False,
        )  # fmt: skip
        return transposed @ grad, None, None
