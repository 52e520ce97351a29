"""KGAT against RecBole's (RUCAIBox/RecBole 1.2.1, MIT), over a small graph: equal weights, equal all."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.kgat import KGAT
from lightning_rec.models.classic.parts import training_matrix
from lightning_rec.tasks.phases import second_phase

NOTHING = torch.zeros(0), torch.zeros(0)
OTHERS, RELATIONS, DIM, K = 25, 3, 6, 5  # entities that are no items


def graph_of(items: int, *, doubled: bool = False) -> KnowledgeGraph:
    """Triples drawn at random, of which no two join the same entities unless ``doubled``."""
    chance, entities = np.random.default_rng(3), items + OTHERS
    rows = np.stack([chance.integers(0, n, 150) for n in (entities, RELATIONS, entities)], axis=1)
    _, first = np.unique(rows[:, 0] * entities + rows[:, 2], return_index=True)
    rows = rows[np.sort(first)]
    if doubled:
        rows = np.concatenate([rows, [[*rows[0][:1], (rows[0][1] + 1) % RELATIONS, rows[0][2]]]])
    rows = np.unique(rows, axis=0)
    names = pl.Series([f"e{n}" for n in range(entities)])
    relations = pl.Series([f"r{n}" for n in range(RELATIONS)])
    return KnowledgeGraph(rows[:, 0], rows[:, 1], rows[:, 2], names, relations, items)


def made(split: Split, graph: KnowledgeGraph | None = None, **settings: Any) -> KGAT:
    torch.manual_seed(0)
    schema = Schema(split.num_items, 10, split.num_users)
    given: dict[str, Any] = {"dim": DIM, "relation_dim": K, "widths": (4, 3), "dropout": 0.0}
    model = KGAT(schema, **(given | {"l2": 0.0} | settings))
    if graph is not None:
        model.read_graph(graph)
    model.fit(split)
    return model


class RecBole(nn.Module):
    """recbole/model/knowledge_aware_recommender/kgat.py, its graph as dense matrices."""

    def __init__(self, model: KGAT, split: Split, graph: KnowledgeGraph) -> None:
        super().__init__()
        self.n_users, self.n_entities = split.num_users, graph.num_entities
        users, rest = model.node.weight.detach().double().split([self.n_users, self.n_entities])
        self.user_embedding = nn.Embedding.from_pretrained(users, freeze=False)
        self.entity_embedding = nn.Embedding.from_pretrained(rest, freeze=False)
        double = {n: p.detach().double() for n, p in model.named_parameters()}
        self.relation_embedding = nn.Embedding.from_pretrained(
            double["relation.weight"], freeze=False
        )
        self.trans_w = nn.Embedding.from_pretrained(double["project.weight"], freeze=False)
        self.w1 = nn.ParameterList([double[f"of_sum.{i}.weight"] for i in range(2)])
        self.w2 = nn.ParameterList([double[f"of_product.{i}.weight"] for i in range(2)])
        user, item = training_matrix(split).toarray().nonzero()  # dataset.ckg_graph
        bought = np.full(len(user), graph.num_relations)
        head, tail = graph.head + self.n_users, graph.tail + self.n_users
        item = item + self.n_users
        self.all_hs = torch.from_numpy(np.concatenate([user, item, head]))
        self.all_ts = torch.from_numpy(np.concatenate([item, user, tail]))
        self.all_rs = torch.from_numpy(np.concatenate([bought, bought, graph.relation]))
        self.A_in = self.init_graph()

    def init_graph(self) -> Tensor:
        size = self.n_users + self.n_entities
        total = torch.zeros(size, size, dtype=torch.float64)
        for relation in range(RELATIONS + 1):
            own = self.all_rs == relation
            adjacency = torch.zeros(size, size, dtype=torch.float64)
            adjacency[self.all_hs[own], self.all_ts[own]] = 1
            total += adjacency / adjacency.sum(dim=1, keepdim=True).clamp(min=1)
        return total

    def forward(self) -> Tensor:
        ego = torch.cat([self.user_embedding.weight, self.entity_embedding.weight], dim=0)
        found = [ego]
        for w1, w2 in zip(self.w1, self.w2, strict=True):  # biases are 0
            side = self.A_in @ ego
            total = F.leaky_relu((ego + side) @ w1.T)
            ego = F.leaky_relu((ego * side) @ w2.T) + total
            found.append(F.normalize(ego, p=2, dim=1))
        return torch.cat(found, dim=1)

    def calculate_kg_loss(self, h: Tensor, r: Tensor, pos_t: Tensor, neg_t: Tensor) -> Tensor:
        r_e, w = self.relation_embedding(r), self.trans_w(r).view(len(r), DIM, K)
        h_e, pos_t_e, neg_t_e = (
            torch.bmm(self.entity_embedding(each).unsqueeze(1), w).squeeze(1)
            for each in (h, pos_t, neg_t)
        )
        pos = ((h_e + r_e - pos_t_e) ** 2).sum(dim=1)
        neg = ((h_e + r_e - neg_t_e) ** 2).sum(dim=1)
        return F.softplus(pos - neg).mean()

    def update_attentive_A(self) -> None:
        ego = torch.cat([self.user_embedding.weight, self.entity_embedding.weight], dim=0)
        w = self.trans_w(self.all_rs).view(-1, DIM, K)
        h_e, t_e = (
            torch.bmm(ego[each].unsqueeze(1), w).squeeze(1) for each in (self.all_hs, self.all_ts)
        )
        score = (t_e * torch.tanh(h_e + self.relation_embedding(self.all_rs))).sum(dim=1)
        size = self.n_users + self.n_entities
        sparse = torch.sparse_coo_tensor(
            torch.stack([self.all_hs, self.all_ts]), score, (size, size)
        )
        self.A_in = torch.sparse.softmax(sparse.coalesce(), dim=1).to_dense().detach()


def of(*users: int) -> tuple[Histories, Tensor]:
    items = torch.zeros(len(users), 1, dtype=torch.int64)
    return Histories(items, torch.tensor(users)), torch.zeros(len(users), dtype=torch.int64)


@pytest.mark.parametrize("attended", [False, True])
def test_vectors_loss_and_gradients_are_those_of_recbole(
    leave_one_out: Split, attended: bool
) -> None:
    split, graph = leave_one_out, graph_of(leave_one_out.num_items)
    model = made(split, graph)
    theirs = RecBole(model, split, graph)
    if attended:
        model.update_attention()
        theirs.update_attentive_A()
    wanted = theirs()
    model.eval()
    asked = split.num_users + split.num_items  # nobody asks for other entities
    torch.testing.assert_close(model.made().double(), wanted[:asked], atol=1e-6, rtol=1e-5)
    users, better, worse = [4, 9, 4], torch.tensor([[1], [2], [3]]), torch.tensor([[3], [3], [5]])
    model.train()
    queries = model(*of(*users))
    difference = model.scores(queries, better) - model.scores(queries, worse)
    loss = F.softplus(-difference).mean() + model.penalty(*NOTHING)
    loss.backward()
    shift = split.num_users
    their_difference = (
        wanted[users] * (wanted[better[:, 0] + shift] - wanted[worse[:, 0] + shift])
    ).sum(dim=1)
    their_loss = -torch.log(torch.sigmoid(their_difference)).mean()
    their_loss.backward()
    torch.testing.assert_close(loss.double(), their_loss, atol=1e-6, rtol=1e-6)
    ours = {name: weight.grad for name, weight in model.named_parameters()}
    gradient = torch.cat([theirs.user_embedding.weight.grad, theirs.entity_embedding.weight.grad])
    pairs = [(ours["node.weight"], gradient)]
    pairs += [(ours[f"of_sum.{i}.weight"], theirs.w1[i].grad) for i in range(2)]
    pairs += [(ours[f"of_product.{i}.weight"], theirs.w2[i].grad) for i in range(2)]
    for own, other in pairs:
        torch.testing.assert_close(own.double(), other, atol=1e-6, rtol=1e-4)
    assert ours["relation.weight"] is None  # attention is no part of the first phase


def test_the_loss_of_triples_and_its_gradients_are_those_of_recbole(leave_one_out: Split) -> None:
    split, graph = leave_one_out, graph_of(leave_one_out.num_items)
    model = made(split, graph)
    theirs = RecBole(model, split, graph)
    triples = torch.from_numpy(graph.triples[:40])
    false = torch.randint(graph.num_entities, (40,))
    loss = model.triple_loss(triples, false)
    wanted = theirs.calculate_kg_loss(triples[:, 0], triples[:, 1], triples[:, 2], false)
    torch.testing.assert_close(loss.double(), wanted, atol=1e-6, rtol=1e-6)
    loss.backward()
    wanted.backward()
    gradient = torch.cat(
        [torch.zeros_like(theirs.user_embedding.weight), theirs.entity_embedding.weight.grad]
    )
    for own, other in (
        (model.node, gradient),
        (model.relation, theirs.relation_embedding.weight.grad),
        (model.project, theirs.trans_w.weight.grad),
    ):
        torch.testing.assert_close(own.weight.grad.double(), other, atol=1e-6, rtol=1e-4)


def test_penalties_are_the_mean_squared_lengths_of_what_a_batch_reads(leave_one_out: Split) -> None:
    model = made(leave_one_out, graph_of(leave_one_out.num_items), l2=0.3).train()
    queries = model(*of(4, 9))
    items = torch.tensor([[1], [2]])
    model.scores(queries, items)
    vectors = model.vectors(items[:, 0]).weight
    model(*of(4, 9))
    model.scores(queries, items)
    wanted = 0.3 / 2 * (queries.square().sum() + vectors.square().sum()) / 2
    torch.testing.assert_close(torch.as_tensor(model.penalty(*NOTHING)), wanted)
    triples, false = model.facts[:5], torch.arange(5)
    bare = made(leave_one_out, graph_of(leave_one_out.num_items))
    bare.load_state_dict(model.state_dict())
    w = model.project(triples[:, 1]).view(-1, DIM, K)
    nodes = model.node.weight[model.schema.num_users :]
    parts = [torch.bmm(nodes[e][:, None], w)[:, 0] for e in (triples[:, 0], triples[:, 2], false)]
    cost = sum(each.square().sum() for each in (*parts, model.relation(triples[:, 1])))
    torch.testing.assert_close(
        model.triple_loss(triples, false) - bare.triple_loss(triples, false), 0.3 / 2 * cost / 5
    )


def test_two_relations_between_two_nodes_are_two_neighbours(leave_one_out: Split) -> None:
    """Equation 5 is about triples: RecBole adds their scores before its softmax."""
    graph = graph_of(leave_one_out.num_items, doubled=True)
    model = made(leave_one_out, graph)
    model.update_attention()
    users, size = model.schema.num_users, len(model.node.weight)
    weight, total = model.node.weight, torch.zeros(size, size)
    score = []
    for h, r, t in model.edges.T.tolist():
        w = model.project.weight[r].view(DIM, K)
        score.append((weight[t] @ w) @ torch.tanh(weight[h] @ w + model.relation.weight[r]))
    chance = torch.stack(score).exp()
    for (h, _, t), each in zip(model.edges.T.tolist(), chance, strict=True):
        total[h, t] += each
    total = total / total.sum(dim=1, keepdim=True).clamp(min=1e-9)
    torch.testing.assert_close(model.graph.torch().to_dense(), total.detach(), atol=1e-6, rtol=1e-5)
    assert users + graph.num_entities == size
    assert len(model.edges.T) == len(model.graph.indices) + 1


def test_triples_count_as_they_do_in_what_the_model_answers_with(leave_one_out: Split) -> None:
    graph = graph_of(leave_one_out.num_items, doubled=True)
    model = made(leave_one_out, graph)
    model.update_attention()
    loaded = KGAT(model.schema, DIM, K, (4, 3))
    loaded.load_state_dict(model.state_dict())
    users, facts = model.schema.num_users, torch.from_numpy(graph.triples)
    weights = loaded.weigh_triples(facts)
    scores = model._scores(model.edges).exp().detach()  # equation 5 by its letter
    sums = torch.zeros(len(model.node.weight)).index_add_(0, model.edges[0], scores)
    at = {
        tuple(e): float(s / sums[e[0]]) for e, s in zip(model.edges.T.tolist(), scores, strict=True)
    }
    wanted = [at[h + users, r, t + users] for h, r, t in facts.tolist()]
    torch.testing.assert_close(weights, torch.tensor(wanted))
    other = graph_of(leave_one_out.num_items)
    for triples in (torch.from_numpy(other.triples[1:]), facts + torch.tensor([0, 1, 0])):
        with pytest.raises(UserError, match="another graph"):
            loaded.weigh_triples(triples)


def test_an_epoch_ends_with_steps_on_triples_and_new_attention(leave_one_out: Split) -> None:
    model = made(leave_one_out, graph_of(leave_one_out.num_items), triples=50)
    before, attention = model.node.weight.detach().clone(), model.graph.values.clone()
    sizes: list[int] = []
    whole = model.triple_loss
    model.triple_loss = lambda triples, false: sizes.append(len(triples)) or whole(triples, false)  # type: ignore[method-assign, func-returns-value]
    for _ in range(30):
        second_phase(model, torch.optim.Adam(model.parameters(), lr=0.01))
    assert sum(sizes) == 30 * len(model.facts)
    assert max(sizes) == 50
    users = model.schema.num_users
    torch.testing.assert_close(model.node.weight[:users], before[:users], rtol=0, atol=0)
    assert not torch.equal(model.node.weight[users:], before[users:])
    assert not torch.equal(model.graph.values, attention)
    rows = torch.arange(len(model.facts))
    drawn = torch.randint(len(model.node.weight) - users, (len(rows),))
    assert model.triple_loss(model.facts, drawn) < 0.5 < whole(model.facts, model.facts[:, 2])


def test_weights_bring_their_graph_along(leave_one_out: Split) -> None:
    model = made(leave_one_out, graph_of(leave_one_out.num_items)).eval()
    model.update_attention()
    schema = Schema(leave_one_out.num_items, 10, leave_one_out.num_users)
    other = KGAT(schema, DIM, K, (4, 3)).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.scores(other(*of(4, 9))), model.scores(model(*of(4, 9))))
