"""What is recommended: each metric of lists against its definition in plain Python."""

import math
import random
from collections import Counter
from itertools import combinations

import pytest
import torch

from lightning_rec.metrics import lists
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.ranking import RankingMetrics

CUTOFFS = (1, 3, 5)
ITEMS, EXAMPLES = 20, 30
CHANCE = random.Random(11)
COUNTS = [CHANCE.randrange(40) for _ in range(ITEMS)]  # one of them without training events
COUNTS[4] = 0
TOP = [CHANCE.sample(range(ITEMS), 5) for _ in range(EXAMPLES)]
TOP[2][2:] = [-1, -1, -1]
TOP[3][1:] = [-1, -1, -1, -1]
FEATURES = [[CHANCE.random() < 0.3 for _ in range(6)] for _ in range(ITEMS)]
FEATURES[7] = [False] * 6


def collected(batches: list[list[int]], cutoffs: tuple[int, ...] = CUTOFFS) -> dict[str, float]:
    metrics = RankingMetrics(torch.tensor(COUNTS), cutoffs, features=torch.tensor(FEATURES).float())
    for batch in batches:
        rank, candidates = torch.ones(len(batch)).long(), torch.full((len(batch),), ITEMS)
        top = torch.tensor([TOP[example] for example in batch])
        metrics.update(torch.tensor(batch), rank, candidates, top)
    return {name: value.item() for name, value in metrics.compute().items()}


def test_novelty_is_the_mean_surprise_of_what_is_recommended() -> None:
    figures = collected([list(range(EXAMPLES))])
    for k in CUTOFFS:
        shown = [item for top in TOP for item in top[:k] if item >= 0]
        bits = [-math.log2(max(COUNTS[item], 1) / sum(COUNTS)) for item in shown]
        assert figures[f"novelty@{k}"] == pytest.approx(sum(bits) / len(bits))


def test_gini_is_the_mean_difference_of_exposures() -> None:
    figures = collected([list(range(EXAMPLES))])
    for k in CUTOFFS:
        shown = Counter(item for top in TOP for item in top[:k] if item >= 0)
        exposure = [shown[item] for item in range(ITEMS)]
        apart = sum(abs(a - b) for a in exposure for b in exposure)
        assert figures[f"gini@{k}"] == pytest.approx(apart / (2 * ITEMS * sum(exposure)))


def test_gini_at_its_ends() -> None:
    counts = torch.ones(10, dtype=torch.int64)
    assert lists.gini(torch.full((10,), 7), counts) == 0
    assert lists.gini(torch.tensor([0, 0, 0, 5, 0, 0, 0, 0, 0, 0]), counts).item() == 0.9


def cosine(a: list[bool], b: list[bool]) -> float:
    return sum(x and y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(a) * sum(b))


def diversity(top: list[int]) -> float:
    described = [item for item in top if item >= 0 and any(FEATURES[item])]
    pairs = list(combinations(described, 2))
    apart = [1 - cosine(FEATURES[a], FEATURES[b]) for a, b in pairs]
    return sum(apart) / len(apart) if apart else math.nan


def test_diversity_is_the_mean_over_pairs() -> None:
    features = torch.tensor(FEATURES).float()
    for k in range(1, 6):
        found = lists.intra_list_diversity(torch.tensor([top[:k] for top in TOP]), features)
        assert found.dtype == torch.float64
        expected = [diversity(top[:k]) for top in TOP]
        assert found.tolist() == pytest.approx(expected, nan_ok=True, abs=1e-12)
    assert diversity(TOP[3]) != diversity(TOP[3])  # a list of one item has no pairs


def test_diversity_of_a_data_set_is_the_mean_over_lists_with_pairs() -> None:
    figures = collected([list(range(EXAMPLES))])
    assert "diversity@1" not in figures
    for k in (3, 5):
        each = [diversity(top[:k]) for top in TOP]
        known = [value for value in each if not math.isnan(value)]
        assert 0 < len(known) < EXAMPLES
        assert figures[f"diversity@{k}"] == pytest.approx(sum(known) / len(known))


def test_diversity_takes_weights_as_well() -> None:
    features = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    found = lists.intra_list_diversity(torch.tensor([[0, 1, 2]]), features)
    assert found.item() == pytest.approx((1 - 0.5**0.5 + 1 - 0.5**0.5 + 1) / 3)


@pytest.mark.parametrize("size", [1, 4, 29])
def test_no_split_into_batches_changes_a_bit(size: int) -> None:
    order = random.Random(size).sample(range(EXAMPLES), EXAMPLES)
    batches = [order[start : start + size] for start in range(0, EXAMPLES, size)]
    assert collected(batches) == collected([list(range(EXAMPLES))])


def test_without_lists_of_two_there_is_no_diversity() -> None:
    assert not any("diversity" in name for name in collected([[0, 1, 2]], cutoffs=(1,)))
    assert not any("diversity" in name for name in collected([[3]]))  # one item, no pairs


def test_the_head_is_a_fifth_of_the_catalogue() -> None:
    head = lists.head_items(torch.tensor([9, 1, 8, 1, 1, 1, 1, 1, 1, 1]))
    assert head.nonzero().flatten().tolist() == [0, 2]
    assert lists.head_items(torch.tensor([3, 3])).tolist() == [True, False]


def test_names_are_those_of_the_figures() -> None:
    metrics = RankingMetrics(torch.tensor(COUNTS), CUTOFFS)
    metrics.update(torch.tensor([0]), torch.tensor([1]), torch.tensor([9]), torch.tensor([TOP[0]]))
    assert sorted(metrics.compute()) == sorted(names_of(metrics.measures, CUTOFFS))


def test_of_a_sample_every_name_says_so_and_lists_are_not_measured() -> None:
    suffix = "_sampled99_uniform"
    metrics = RankingMetrics(
        torch.tensor(COUNTS), CUTOFFS, suffix, features=torch.tensor(FEATURES).float()
    )
    metrics.update(torch.tensor([0, 1]), torch.tensor([2, 4]), torch.tensor([100, 100]))
    figures = metrics.compute()
    ranked = names_of(metrics.measures, CUTOFFS, without=("lists", "top"))
    assert sorted(figures) == sorted(f"{name}{suffix}" for name in ranked)
    assert all(name.endswith(suffix) for name in figures)
    assert figures["recall@3_sampled99_uniform"] == 0.5
    assert figures["mrr_sampled99_uniform"] == (1 / 2 + 1 / 4) / 2
    assert not any(name.startswith(("coverage", "popular", "novelty", "gini")) for name in figures)
