"""Each metric against the textbook definition, worked out on a whole ranked list in plain Python."""

import math
import random

import pytest
import torch
from torch import Tensor

from lightning_rec.metrics import functional as F

CUTOFFS = (1, 2, 5, 10)
COLD = -1


def worth(score: float) -> float:
    """A score that is not a number is worth no more than the lowest there is."""
    return -math.inf if math.isnan(score) else score


def ranked_list(scores: list[float], target: int, seen: set[int]) -> list[int]:
    """The candidates, best first; the target last among its equals."""
    candidates = [item for item in range(len(scores)) if item == target or item not in seen]
    return sorted(candidates, key=lambda item: (-worth(scores[item]), item == target))


def textbook(ranking: list[int], target: int, k: int) -> dict[str, float]:
    """Metrics of one ranked list with the relevant set {target}, as any textbook has them."""
    relevant = {target} if target in ranking else set()
    top = ranking[:k]
    hits = [item in relevant for item in top]
    dcg = sum(hit / math.log2(place + 1) for place, hit in enumerate(hits, 1))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, 1) + 1))
    precision, recall = sum(hits) / k, sum(hits)  # one relevant item per user, found or cold
    f1 = 2 * precision * recall / (precision + recall) if recall else 0.0
    reciprocal = next((1 / place for place, hit in enumerate(hits, 1) if hit), 0.0)
    return {
        "recall": recall,
        "precision": precision,
        "f1": f1,
        "ndcg": dcg / ideal,
        "mrr": reciprocal,
    }


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
    rows, place = torch.arange(len(target)), torch.tensor(target).clamp(min=0)
    known = torch.tensor(target) >= 0
    there = torch.ones_like(scores, dtype=torch.bool)
    there[rows[known], place[known]] = False
    for row, items in enumerate(seen):
        there[row, items] = False
    return F.rank_among(scores[rows, place], scores, known, there)


@pytest.mark.parametrize("seed", range(60))
def test_every_metric_is_the_textbooks(seed: int) -> None:
    scores, target, seen = case(seed)
    rank, candidates = ranked(torch.tensor(scores), target, seen)
    area = F.auc(rank, candidates)
    for row in range(len(target)):
        ranking = ranked_list(scores[row], target[row], set(seen[row]))
        assert candidates[row] == len(ranking)
        if target[row] == COLD:
            assert rank[row] == 0
            assert area[row] == 0
        else:
            assert rank[row] == ranking.index(target[row]) + 1
            assert area[row] == pytest.approx(pair_auc(scores[row], target[row], set(seen[row])))
        for k in CUTOFFS:
            for name, value in textbook(ranking, target[row], k).items():
                assert getattr(F, name)(rank, k)[row].item() == pytest.approx(value, abs=1e-12), (
                    name,
                    k,
                )
        full = textbook(ranking, target[row], len(ranking))["mrr"]
        assert F.mrr(rank)[row].item() == pytest.approx(full)


def rank_one(scores: list[float], target: int, seen: list[int]) -> tuple[int, int]:
    rank, candidates = ranked(torch.tensor([scores]), [target], [seen])
    return int(rank), int(candidates)


def test_average_precision_of_one_target_is_the_reciprocal_rank() -> None:
    rank = torch.tensor([1, 2, 5, 6, 0])
    found = F.average_precision(rank, 5).tolist()
    for each, value in zip(rank.tolist(), found, strict=True):
        relevant = [float(place == each) for place in range(1, 9)]
        at = [sum(relevant[:place]) / place for place in range(1, 6) if relevant[place - 1]]
        assert value == pytest.approx(sum(at))


def test_ties_count_against_the_model() -> None:
    assert rank_one([1.0] * 10, 3, []) == (10, 10)
    assert rank_one([5.0, 5.0, 1.0, 0.0], 0, []) == (2, 4)


def test_seen_items_are_no_candidates_but_the_target_always_is() -> None:
    assert rank_one([9.0, 8.0, 7.0, 6.0], 2, seen=[0, 0, 1]) == (1, 2)
    assert rank_one([9.0, 8.0, 7.0, 6.0], 0, seen=[0, 0, 1]) == (1, 3)


def test_a_cold_target_is_a_miss_everywhere() -> None:
    rank, candidates = ranked(torch.tensor([[3.0, 2.0, 1.0]]), [-1], [[2]])
    assert (int(rank), int(candidates)) == (0, 2)
    assert all(
        float(getattr(F, name)(rank, 3)) == 0
        for name in ("recall", "precision", "f1", "ndcg", "mrr")
    )
    assert float(F.mrr(rank)) == float(F.auc(rank, candidates)) == 0


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
    assert F.auc(rank, candidates).isfinite().all()


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
    wanted = torch.tensor([scores[r][max(target[r], 0)] for r in kept])
    others = torch.tensor(
        [[scores[r][max(i, 0)] for i in each] for r, each in zip(kept, drawn, strict=True)]
    )
    known = torch.tensor([target[r] >= 0 for r in kept])
    rank, candidates = F.rank_among(wanted, others, known, torch.tensor(drawn) >= 0)
    for row, (r, each) in enumerate(zip(kept, drawn, strict=True)):
        left_out = set(range(len(scores[r]))) - set(each)
        ranking = ranked_list(scores[r], target[r], left_out)
        assert candidates[row] == len(ranking)
        assert rank[row] == (0 if target[r] == COLD else ranking.index(target[r]) + 1)


def test_a_whole_sample_needs_no_masks_and_ties_count_against_the_model() -> None:
    rank, candidates = F.rank_among(
        torch.tensor([1.0, 1.0, math.nan]), torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, -math.inf]])
    )
    assert rank.tolist() == [2, 3, 3]
    assert candidates.tolist() == [3, 3, 3]
