"""Ranks: among candidates of a target's own, within the judged items of a query, ties broken."""

import math
import random

import pytest
import torch
from torch import Tensor

from lightning_rec.metrics import functional as F
from lightning_rec.metrics.targets import Targets, break_ties, rank_among, rank_within

COLD = -1


def worth(score: float) -> float:
    """A score that is not a number is worth no more than the lowest there is."""
    return -math.inf if math.isnan(score) else score


def ranked_list(scores: list[float], target: int, seen: set[int]) -> list[int]:
    """The candidates, best first; the target last among its equals."""
    candidates = [item for item in range(len(scores)) if item == target or item not in seen]
    return sorted(candidates, key=lambda item: (-worth(scores[item]), item == target))


def pair_auc(scores: list[float], target: int, seen: set[int]) -> float:
    """Share of (target, other candidate) pairs in the right order; equal scores are not."""
    others = [item for item in range(len(scores)) if item != target and item not in seen]
    return sum(worth(scores[target]) > worth(scores[other]) for other in others) / len(others)


def case(seed: int) -> tuple[list[list[float]], list[int], list[list[int]]]:
    """Scores with ties, NaN and infinities; cold targets; seen lists with duplicates and targets."""
    chance = random.Random(seed)
    items = chance.randint(12, 30)
    odd = [math.nan, math.inf, -math.inf] if seed % 3 == 0 else []
    values: list[float] = [*range(chance.choice([1, 3, 1000])), *odd]  # one value: constant scores
    scores = [[float(chance.choice(values)) for _ in range(items)] for _ in range(8)]
    target = [chance.choice([COLD, *range(items)]) for _ in range(8)]
    seen = [[chance.randrange(items) for _ in range(chance.randint(0, 9))] for _ in range(8)]
    return scores, target, seen


def ranked(scores: Tensor, target: list[int], seen: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Rank and number of candidates of each row, among all items but the seen ones."""
    rows, item = torch.arange(len(target)), torch.tensor(target).clamp(min=0)
    known = torch.tensor(target) >= 0
    mask = torch.ones_like(scores, dtype=torch.bool)
    mask[rows[known], item[known]] = False
    for row, items in enumerate(seen):
        mask[row, items] = False
    return rank_among(scores[rows, item], scores, known, mask)


def area(rank: Tensor, candidates: Tensor) -> Tensor:
    targets = Targets(torch.arange(len(rank)), rank, candidates=candidates)
    return F.auc(targets.example, rank, targets.positive, candidates)


@pytest.mark.parametrize("seed", range(60))
def test_a_rank_is_the_place_in_the_sorted_list(seed: int) -> None:
    scores, target, seen = case(seed)
    rank, candidates = ranked(torch.tensor(scores), target, seen)
    areas = area(rank, candidates)
    for row in range(len(target)):
        ranking = ranked_list(scores[row], target[row], set(seen[row]))
        assert candidates[row] == len(ranking)
        if target[row] == COLD:
            assert rank[row] == 0
            assert areas[row] == 0
        else:
            assert rank[row] == ranking.index(target[row]) + 1
            assert areas[row] == pytest.approx(pair_auc(scores[row], target[row], set(seen[row])))


def rank_one(scores: list[float], target: int, seen: list[int]) -> tuple[int, int]:
    rank, candidates = ranked(torch.tensor([scores]), [target], [seen])
    return int(rank), int(candidates)


def test_ties_count_against_the_model() -> None:
    assert rank_one([1.0] * 10, 3, []) == (10, 10)
    assert rank_one([5.0, 5.0, 1.0, 0.0], 0, []) == (2, 4)


def test_seen_items_are_no_candidates_but_the_target_always_is() -> None:
    assert rank_one([9.0, 8.0, 7.0, 6.0], 2, seen=[0, 0, 1]) == (1, 2)
    assert rank_one([9.0, 8.0, 7.0, 6.0], 0, seen=[0, 0, 1]) == (1, 3)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_scores_that_are_no_number_rank_last(bad: float) -> None:
    assert rank_one([bad, 1.0, -1e30], 0, []) == (3, 3)
    assert rank_one([bad, 1.0, -1e30], 2, []) == (2, 3)
    assert rank_one([bad, bad, bad], 1, []) == (3, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_float_type_ranks(dtype: torch.dtype) -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, math.nan]], dtype=dtype)
    rank, _ = ranked(scores, [2], [[]])
    assert int(rank) == 2


def test_a_lone_candidate_makes_no_nan() -> None:
    rank, candidates = ranked(torch.tensor([[3.0, 2.0]]), [0], [[1]])
    assert (int(rank), int(candidates)) == (1, 1)
    assert area(rank, candidates).tolist() == [1.0]


@pytest.mark.parametrize("seed", range(30))
def test_a_sample_is_ranked_as_a_catalogue_of_that_sample(seed: int) -> None:
    scores, target, seen = case(seed)
    chance = random.Random(seed)
    drawn = [
        chance.sample([i for i in range(len(each)) if i != t and i not in s], 3)
        for each, t, s in zip(scores, target, seen, strict=True)
        if len(each) - len({*s, t}) >= 3
    ]
    kept = [r for r, each in enumerate(scores) if len(each) - len({*seen[r], target[r]}) >= 3]
    drawn = [[*each, -1] for each in drawn]  # the fourth candidate is missing
    target_scores = torch.tensor([scores[r][max(target[r], 0)] for r in kept])
    others = torch.tensor(
        [[scores[r][max(i, 0)] for i in each] for r, each in zip(kept, drawn, strict=True)]
    )
    known = torch.tensor([target[r] >= 0 for r in kept])
    rank, candidates = rank_among(target_scores, others, known, torch.tensor(drawn) >= 0)
    for row, (r, each) in enumerate(zip(kept, drawn, strict=True)):
        left_out = set(range(len(scores[r]))) - set(each)
        ranking = ranked_list(scores[r], target[r], left_out)
        assert candidates[row] == len(ranking)
        assert rank[row] == (0 if target[r] == COLD else ranking.index(target[r]) + 1)


def test_a_whole_sample_needs_no_masks_and_ties_count_against_the_model() -> None:
    rank, candidates = rank_among(
        torch.tensor([1.0, 1.0, math.nan]), torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, -math.inf]])
    )
    assert rank.tolist() == [2, 3, 3]
    assert candidates.tolist() == [3, 3, 3]


def test_ranks_within_examples_count_ties_against_and_know_no_numbers() -> None:
    example = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    score = torch.tensor([0.5, 2.0, 0.5, torch.nan, 1.0, 1.0, -torch.inf])
    assert rank_within(score, example).tolist() == [3, 1, 3, 4, 2, 2, 1]


def test_ties_are_broken_in_the_worst_order() -> None:
    example = torch.tensor([0, 0, 0, 0, 1, 1])
    rank = torch.tensor([7, 7, 1, 7, 0, 0])
    gain = torch.tensor([0.5, 1.0, 0.2, 0.0, 1.0, 0.5])
    assert break_ties(rank, gain, example).tolist() == [6, 7, 1, 5, 0, 0]
