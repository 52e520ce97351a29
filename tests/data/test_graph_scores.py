"""TransE and RotatE against the papers' formulas and the code of RotatE's authors."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_rec.data.graphs import learn as learning
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.learn import Settings, entity_vectors, rarity
from lightning_rec.data.graphs.negatives import Negatives
from lightning_rec.data.graphs.ranks import figures, filtered_ranks, held_out
from lightning_rec.data.graphs.scores import RotatE, TransE

ENTITIES, RELATIONS, WIDTH = 30, 3, 8


def drawn(number: int = 80, seed: int = 0) -> KnowledgeGraph:
    chance = np.random.default_rng(seed)
    columns = [chance.integers(0, size, number) for size in (ENTITIES, RELATIONS, ENTITIES)]
    rows = np.unique(np.stack(columns, axis=1), axis=0)
    names = [pl.Series([f"{kind}{n}" for n in range(size)], dtype=pl.String)
             for kind, size in (("e", ENTITIES), ("r", RELATIONS))]  # fmt: skip
    return KnowledgeGraph(rows[:, 0], rows[:, 1], rows[:, 2], names[0], names[1], 10)


def triples_of(graph: KnowledgeGraph) -> Tensor:
    return torch.from_numpy(graph.triples)


def official_rotate(model: RotatE, triples: Tensor, others: Tensor, mode: str) -> Tensor:
    """DeepGraphLearning/KnowledgeGraphEmbedding, codes/model.py (MIT): γ less the distance."""
    take = {"h": triples[:, :1], "t": triples[:, 2:]} | {mode[0]: others}
    head, tail = model.entity[take["h"]], model.entity[take["t"]]
    phase_relation = model.relation[triples[:, 1]].unsqueeze(1)
    re_head, im_head = torch.chunk(head, 2, dim=2)
    re_tail, im_tail = torch.chunk(tail, 2, dim=2)
    re_relation, im_relation = torch.cos(phase_relation), torch.sin(phase_relation)
    if mode == "head-batch":
        re_score = re_relation * re_tail + im_relation * im_tail - re_head
        im_score = re_relation * im_tail - im_relation * re_tail - im_head
    else:
        re_score = re_head * re_relation - im_head * im_relation - re_tail
        im_score = re_head * im_relation + im_head * re_relation - im_tail
    score = torch.stack([re_score, im_score], dim=0).norm(dim=0)
    return model.margin - score.sum(dim=2)


@pytest.mark.parametrize("mode", ["head-batch", "tail-batch"])
def test_rotate_its_loss_and_gradients_are_those_of_the_authors(mode: str) -> None:
    torch.manual_seed(0)
    model = RotatE(ENTITIES, RELATIONS, WIDTH, margin=2.0, temperature=0.7).double()
    triples = triples_of(drawn())[:12]
    others = torch.randint(ENTITIES, (12, 5))
    back = mode == "head-batch"
    weight = torch.rand(12).double()
    found = model(triples, others, back=back)
    true = model(triples, triples[:, [0 if back else 2]], back=back)[:, 0]
    loss = model.loss(true, found, weight)
    ours = torch.autograd.grad(loss, list(model.parameters()))

    negative_score = official_rotate(model, triples, others, mode)
    torch.testing.assert_close(model.margin - found, negative_score)
    negative = (F.softmax(negative_score * 0.7, dim=1).detach()
                * F.logsigmoid(-negative_score)).sum(dim=1)  # fmt: skip
    positive = F.logsigmoid(official_rotate(model, triples, triples[:, 2:], "tail-batch"))[:, 0]
    wanted = (-(weight * positive).sum() - (weight * negative).sum()) / weight.sum() / 2
    torch.testing.assert_close(loss, wanted)
    theirs = torch.autograd.grad(wanted, list(model.parameters()))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("back", [False, True])
def test_transe_is_the_papers_margin_over_pairs(norm: int, back: bool) -> None:
    torch.manual_seed(0)
    model = TransE(ENTITIES, RELATIONS, WIDTH, margin=1.0, norm=norm)
    torch.testing.assert_close(model.relation.norm(dim=1), torch.ones(RELATIONS))
    model.before_step()
    torch.testing.assert_close(model.entity.norm(dim=1), torch.ones(ENTITIES))
    triples, others = triples_of(drawn())[:6], torch.randint(ENTITIES, (6, 4))
    found = model(triples, others, back=back)
    true = model(triples, triples[:, [0 if back else 2]], back=back)[:, 0]
    total, pairs = torch.zeros(()), 0
    for row, (h, r, t) in enumerate(triples.tolist()):
        for other in others[row].tolist():
            a, b = (other, t) if back else (h, other)
            false = (model.entity[a] + model.relation[r] - model.entity[b]).norm(p=norm)
            own = (model.entity[h] + model.relation[r] - model.entity[t]).norm(p=norm)
            total, pairs = total + max(torch.zeros(()), 1 + own - false), pairs + 1
    torch.testing.assert_close(model.loss(true, found, torch.rand(6)), total / pairs)


def test_triples_weigh_as_in_the_authors_code() -> None:
    triples, count = triples_of(drawn()), dict[tuple[int, int], int]()
    for head, relation, tail in triples.tolist():  # count_frequency of codes/dataloader.py
        for key in ((head, relation), (tail, -relation - 1)):
            count[key] = count.get(key, 3) + 1
    wanted = [(count[h, r] + count[t, -r - 1]) ** -0.5 for h, r, t in triples.tolist()]
    torch.testing.assert_close(rarity(triples), torch.tensor(wanted))


@pytest.mark.parametrize("back", [False, True])
def test_no_negative_is_known_to_be_true(back: bool) -> None:
    triples = triples_of(drawn(300))
    known = set(map(tuple, triples.tolist()))
    made = Negatives(triples, ENTITIES, 20).draw(triples, back=back)
    for (h, r, t), row in zip(triples.tolist(), made.tolist(), strict=True):
        assert not known & {(e, r, t) if back else (h, r, e) for e in row}


@pytest.mark.parametrize("kind", [RotatE, TransE])
def test_ranks_are_filtered_and_exact(kind: type[RotatE] | type[TransE]) -> None:
    torch.manual_seed(0)
    graph = drawn(200)
    model = kind(ENTITIES, RELATIONS, WIDTH, 1.0)
    triples, rows = triples_of(graph), np.array([0, 7, 50])
    known = set(map(tuple, triples.tolist()))
    found = filtered_ranks(model, graph, rows)
    every = torch.arange(ENTITIES)[None]
    for place, row in enumerate(rows):
        h, r, t = triples[row].tolist()
        tails, heads = (model(triples[[row]], every, back=back)[0] for back in (False, True))
        of_tail = [e for e in range(ENTITIES) if e == t or (h, r, e) not in known]
        of_head = [e for e in range(ENTITIES) if e == h or (e, r, t) not in known]
        assert found[0, place] == sum(bool(tails[e] <= tails[t]) for e in of_tail)
        assert found[1, place] == sum(bool(heads[e] <= heads[h]) for e in of_head)
    assert figures(torch.tensor([1, 2, 4])) == {
        "mrr": pytest.approx(1.75 / 3), "hits@1": pytest.approx(1 / 3),
        "hits@3": pytest.approx(2 / 3), "hits@10": 1.0,
    }  # fmt: skip
    with torch.no_grad():
        model.entity[:] = model.entity[0]  # all alike: the last of what is not filtered
    assert (filtered_ranks(model, graph, rows) > ENTITIES / 2).all()


def test_what_is_held_out_goes_by_pairs_and_leaves_each_entity_a_triple() -> None:
    graph = drawn(400)
    out = held_out(graph, 0.5, seed=0)
    assert 0.3 < out.mean() < 0.7
    low, high = np.minimum(graph.head, graph.tail), np.maximum(graph.head, graph.tail)
    pair = low * ENTITIES + high
    assert not set(pair[out]) & set(pair[~out])
    assert {*graph.head[~out], *graph.tail[~out]} == {*graph.head, *graph.tail}
    assert not held_out(graph, 0.0, seed=0).any()


@pytest.mark.parametrize("model", ["rotate", "transe"])
def test_a_pattern_is_learnt_and_kept(
    model: learning.Embedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 things of three kinds, which two relations tell alike."""
    things, graph = np.arange(24), drawn()
    graph = KnowledgeGraph(
        np.tile(things, 2), np.repeat([0, 1], 24),
        np.concatenate([24 + things % 3, 27 + things % 3]),
        graph.entities, graph.relations, 10,
    )  # fmt: skip
    settings = Settings(model, 16, 150, 20, 8, lr=0.02, held_out=0.1)
    vectors = entity_vectors(graph, settings, tmp_path)
    assert vectors.shape == (ENTITIES, 16)
    _, found = learning.learn(graph, settings)
    assert found["mrr"] > 0.5  # by chance 0.13
    monkeypatch.setattr(learning, "learn", None)
    np.testing.assert_array_equal(entity_vectors(graph, settings, tmp_path), vectors)
