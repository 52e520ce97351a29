"""Paths between items are those that a search of all paths finds, and hubs cost no more."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.graphs import paths as searching
from lightning_rec.data.graphs.graph import KnowledgeGraph
from lightning_rec.data.graphs.paths import Pairs, best_paths
from lightning_rec.data.graphs.steps import steps_of
from lightning_rec.data.split import ranges

ITEMS = 8


def graph_of(rows: np.ndarray, entities: int) -> KnowledgeGraph:
    rows = np.unique(rows, axis=0)
    names = pl.Series([f"e{n}" for n in range(entities)])
    return KnowledgeGraph(
        rows[:, 0], rows[:, 1], rows[:, 2], names, pl.Series(["x", "y", "z"]), ITEMS
    )


def small(seed: int, triples: int = 90, entities: int = 22) -> KnowledgeGraph:
    chance = np.random.default_rng(seed)
    return graph_of(
        np.stack([chance.integers(0, n, triples) for n in (entities, 3, entities)], axis=1),
        entities,
    )


class Searched:
    """All paths, by walking the triples one by one."""

    def __init__(self, graph: KnowledgeGraph, attention: np.ndarray | None) -> None:
        self.attention = attention
        self.joined: dict[int, dict[int, list[int]]] = {n: {} for n in range(graph.num_entities)}
        for number, (head, _, tail) in enumerate(graph.triples.tolist()):
            if head != tail:
                self.joined[head].setdefault(tail, []).append(number)
                self.joined[tail].setdefault(head, []).append(number)

    def walk(self, path: list[int], goal: int, hops: int) -> Iterator[list[int]]:
        if path[-1] == goal:
            yield path
        elif hops:
            for near in self.joined[path[-1]]:
                if near not in path:
                    yield from self.walk([*path, near], goal, hops - 1)

    def step(self, begin: int, end: int) -> int:
        weigh = self.attention if self.attention is not None else np.ones(10**4)
        return min(self.joined[begin][end], key=lambda number: (-weigh[number], number))

    def weight(self, path: list[int]) -> float:
        pairs = pairwise(path)
        if self.attention is not None:
            return float(np.prod([self.attention[self.step(*pair)] for pair in pairs]))
        return float(np.prod([1 / len(self.joined[each]) for each in path[1:-1]]))


@pytest.mark.parametrize("rows", [2**20, 3])
@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize(("hops", "most"), [(1, 2), (2, 3), (3, 1), (3, 4), (3, 1000)])
def test_paths_and_weights_are_those_of_a_search_of_all(
    hops: int, most: int, attended: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "ROWS", rows)
    for seed in range(4):
        graph = small(seed)
        chance = np.random.default_rng(seed + 10)
        attention = chance.random(len(graph.head)) if attended else None
        histories = [chance.permutation(ITEMS)[:n] for n in (3, 0, 5, 1)]
        wanted = [chance.permutation(ITEMS)[:n] for n in (4, 2, 3, 0)]  # some of the history too
        history, targets = (
            Pairs(np.repeat(np.arange(4), [len(own) for own in each]), np.concatenate(each))
            for each in (histories, wanted)
        )
        found = best_paths(steps_of(graph, attention), history, targets, hops, most)
        searched, place = Searched(graph, attention), 0
        for target, (user, item) in enumerate(zip(*targets, strict=True)):
            every = [
                path
                for begin in histories[user]
                if begin != item
                for path in searched.walk([int(begin)], int(item), hops)
            ]
            # In the package's order: weight, then length, then codes.
            keyed = {tuple(path): searched.weight(path) for path in every}
            order = sorted(
                keyed,
                key=lambda p: (
                    -round(keyed[p], 12),
                    len(p),
                    p[0],
                    p[1] if len(p) > 2 else -1,
                    p[2] if len(p) > 3 else -1,
                ),
            )
            for path in order[:most]:
                assert found.target[place] == target
                between = [found.first[place], found.second[place]]
                own = [found.begin[place], *(n for n in between if n >= 0), item]
                np.testing.assert_allclose(found.weight[place], keyed[path], rtol=1e-12)
                assert own == [*path]
                triples = [searched.step(*pair) for pair in pairwise(path)]
                assert [n for n in found.triple[place].tolist() if n >= 0] == triples
                place += 1
        assert place == len(found.target)
        assert found.hops.max(initial=1) <= hops


def test_the_target_and_an_entity_between_may_be_the_heaviest_beginnings() -> None:
    """Item 0 is asked about, 1 lies between, both are of the history: the path begins at item 2."""
    graph = graph_of(np.array([[0, 0, 8], [1, 0, 0], [1, 0, 8], [2, 0, 8]]), 9)
    history = Pairs(np.zeros(3, dtype=np.int64), np.arange(3))
    target = Pairs(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    found = best_paths(steps_of(graph, np.array([4.0, 5.0, 3.0, 2.0])), history, target, 3, 1)
    assert [*found.weight, *found.begin, *found.first, *found.second] == [30, 2, 8, 1]


def test_an_entity_with_many_neighbours_costs_no_more_than_those_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Item 0 and the history are joined by entities of 20,000 neighbours each."""
    many, hubs = 20_000, [8, 9]
    rows = [(hub, 0, 10 + n) for hub in hubs for n in range(many)] + [(8, 0, 9)]
    rows += [(item, 1, 8) for item in range(1, ITEMS)] + [(0, 1, 9)]
    steps = steps_of(graph_of(np.array(rows), 10 + many))
    assert steps.degree.max() > many
    made: list[int] = []

    def counted(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        made.append(int((end - start).sum()))
        return ranges(start, end)

    monkeypatch.setattr("lightning_rec.data.graphs.paths.ranges", counted)
    users = np.arange(5)
    history = Pairs(np.repeat(users, ITEMS - 1), np.tile(np.arange(1, ITEMS), len(users)))
    found = best_paths(steps, history, Pairs(users, np.zeros_like(users)), 3, 2)
    assert found.second.tolist() == [9] * 10
    assert found.first.tolist() == [8] * 10
    assert sum(made) < 1000
