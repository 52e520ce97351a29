"""Sampled candidates: who may be drawn, how often, and that nothing but the example matters."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lightning_rec.data import candidates as module
from lightning_rec.data.candidates import Candidates

ITEMS = 30


class Log:
    """Examples with histories: some empty, some with doubled items, one of nearly all items."""

    def __init__(self, count: int = 40) -> None:
        chance = random.Random(5)
        self.seen = [
            [chance.randrange(ITEMS) for _ in range(chance.randint(0, 25))] for _ in range(count)
        ]
        self.seen[3] = list(range(ITEMS - 4))
        self.target = [chance.choice([-1, *range(ITEMS)]) for _ in range(count)]
        self.counts = np.array([1 + int(500 / (item + 1) ** 2) for item in range(ITEMS)])

    def allowed(self, example: int) -> set[int]:
        return set(range(ITEMS)) - set(self.seen[example]) - {self.target[example]}

    def draw(self, drawer: Candidates, examples: list[int]) -> list[list[int]]:
        pairs = [(row, item) for row, each in enumerate(examples) for item in self.seen[each]]
        rows, items = (np.array([pair[n] for pair in pairs], dtype=np.int64) for n in (0, 1))
        target = np.array([self.target[each] for each in examples])
        drawn = drawer.draw(np.array(examples), target, rows, items, self.counts)
        assert drawn.dtype == np.int64
        assert drawn.shape == (len(examples), drawer.number)
        result: list[list[int]] = drawn.tolist()
        return result


@pytest.mark.parametrize("by", ["popular", "uniform"])
@pytest.mark.parametrize("number", [1, 5, 20, 50])
def test_what_is_drawn_is_new_allowed_and_all_there_is_if_need_be(by: Any, number: int) -> None:
    log = Log()
    for example, drawn in enumerate(log.draw(Candidates(number, by), list(range(40)))):
        there = [item for item in drawn if item >= 0]
        assert len(there) == len(set(there)) == min(number, len(log.allowed(example)))
        assert set(there) <= log.allowed(example)
        assert drawn[len(there) :] == [-1] * (number - len(there))


@pytest.mark.parametrize("by", ["popular", "uniform"])
@pytest.mark.parametrize("number", [3, 20])
def test_an_example_draws_the_same_in_any_batch(
    by: Any, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, drawer = Log(), Candidates(number, by)
    whole = log.draw(drawer, list(range(40)))
    for size in (1, 7):
        order = random.Random(size).sample(range(40), 40)
        for start in range(0, 40, size):
            batch = order[start : start + size]
            assert log.draw(drawer, batch) == [whole[example] for example in batch]
    monkeypatch.setattr(module, "BLOCK", 3 * ITEMS)  # rows that fell short, three at a time
    assert log.draw(drawer, list(range(40))) == whole


def test_seeds_examples_and_kinds_draw_differently() -> None:
    log = Log()
    log.seen, log.target = [[]] * 40, [-1] * 40
    first = log.draw(Candidates(8, "uniform"), list(range(40)))
    assert len({tuple(drawn) for drawn in first}) == 40
    assert first != log.draw(Candidates(8, "uniform", seed=1), list(range(40)))
    assert first != log.draw(Candidates(8, "popular"), list(range(40)))


def orders(weights: dict[int, int], number: int) -> Iterator[tuple[list[int], float]]:
    """Every way to draw ``number`` items one after the other without replacement, and its chance."""
    if not number or not weights:
        yield [], 1.0
        return
    total = sum(weights.values())
    for item, weight in weights.items():
        rest = {other: w for other, w in weights.items() if other != item}
        for drawn, chance in orders(rest, number - 1):
            yield [item, *drawn], chance * weight / total


@pytest.mark.parametrize(
    ("counts", "by", "draws"),
    [
        ([9, 5, 3, 1, 1, 7], "popular", 3),
        ([9, 5, 3, 1, 1, 7], "uniform", 3),
        ([900, 5, 3, 1, 1, 7], "popular", 3),  # most rows fall short and are completed
        ([9, 5, 3, 1, 1, 7], "popular", 0),  # all are completed from the start
    ],
)
def test_items_are_drawn_as_often_as_without_replacement(
    counts: list[int], by: Any, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAWS", draws)
    examples, number, barred = 20_000, 2, 5  # item 5 is the target of all
    drawn = Candidates(number, by).draw(
        np.arange(examples),
        np.full(examples, barred),
        np.zeros(0, dtype=np.int64),
        np.zeros(0, dtype=np.int64),
        np.array(counts),
    )
    weights = {i: count if by == "popular" else 1 for i, count in enumerate(counts) if i != barred}
    chances: dict[tuple[int, ...], float] = {}
    for items, chance in orders(weights, number):
        pair = tuple(sorted(items))
        chances[pair] = chances.get(pair, 0.0) + chance
    pairs = np.sort(drawn, axis=1)
    for pair, chance in chances.items():
        found = (pairs == pair).all(axis=1).mean()
        assert found == pytest.approx(chance, abs=4.5 * (chance / examples) ** 0.5), pair


def test_the_names_of_metrics_say_the_sample() -> None:
    assert Candidates().suffix == "_sampled100_popular"
    assert Candidates(99, "uniform").suffix == "_sampled99_uniform"
