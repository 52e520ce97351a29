"""Each ranking metric against the textbook on whole ranked lists, scikit-learn, and by hand."""

import math
import random

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score
from torch import Tensor

from lightning_rec.metrics import functional as F
from lightning_rec.metrics.clicks import ClickMetrics, Rows
from lightning_rec.metrics.targets import break_ties, rank_within

CUTOFFS = (1, 2, 5, 10)
EXAMPLE = torch.repeat_interleave(torch.arange(6), torch.tensor([5, 8, 2, 12, 3, 6]))


def textbook(ranking: list[int], relevant: set[int], k: int) -> dict[str, float]:
    """Metrics of one ranked list, as any textbook has them; gains are 0 and 1."""
    hits = [item in relevant for item in ranking[:k]]
    dcg = sum(hit / math.log2(place + 1) for place, hit in enumerate(hits, 1))
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))
    precision, recall = sum(hits) / k, sum(hits) / len(relevant)
    at = [sum(hits[:place]) / place for place in range(1, len(hits) + 1) if hits[place - 1]]
    return {
        "recall": recall,
        "precision": precision,
        "f1": 2 * precision * recall / (precision + recall) if recall else 0.0,
        "ndcg": dcg / ideal,
        "mrr_at": next((1 / place for place, hit in enumerate(hits, 1) if hit), 0.0),
        "average_precision": sum(at) / min(k, len(relevant)),
    }


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("seed", range(20))
def test_every_metric_is_the_textbooks(seed: int, most: int) -> None:
    """Of one target per example and of several, some of which are no candidates."""
    chance = random.Random(seed)
    rankings = [chance.sample(range(30), 20) for _ in range(9)]
    relevant = [set(chance.sample(range(30), chance.randint(1, most))) for _ in rankings]
    pairs = [(e, item) for e, items in enumerate(relevant) for item in sorted(items)]
    example = torch.tensor([e for e, _ in pairs])
    rank = torch.tensor([rankings[e].index(i) + 1 if i in rankings[e] else 0 for e, i in pairs])
    positive = torch.ones(len(pairs), dtype=torch.bool)
    for k in CUTOFFS:
        expected = [textbook(*each, k) for each in zip(rankings, relevant, strict=True)]
        for name in expected[0]:
            found = getattr(F, name)(example, rank, positive, k).tolist()
            assert found == pytest.approx([each[name] for each in expected], abs=1e-12), (name, k)
    whole = [textbook(*each, 20)["mrr_at"] for each in zip(rankings, relevant, strict=True)]
    assert F.mrr(example, rank, positive).tolist() == pytest.approx(whole)
    areas = F.auc(example, rank, positive, torch.full((9,), 20))
    for ranking, items, area in zip(rankings, relevant, areas.tolist(), strict=True):
        label = [item in items for item in ranking]
        lost = sum(item not in ranking for item in items) / len(items)
        best = roc_auc_score(label, range(20, 0, -1)) if any(label) else 0.0
        assert area == pytest.approx(best * (1 - lost))


def test_a_miss_is_a_miss_everywhere() -> None:
    miss = torch.tensor([0]), torch.tensor([0]), torch.tensor([True])
    names = ("recall", "precision", "f1", "ndcg", "mrr_at", "average_precision")
    assert all(float(getattr(F, name)(*miss, 3)) == 0 for name in names)
    assert float(F.mrr(*miss)) == float(F.auc(*miss, torch.tensor([3]))) == 0


def test_without_a_relevant_target_nothing_is_defined() -> None:
    nothing = torch.tensor([0, 0]), torch.tensor([1, 2]), torch.tensor([False, False])
    names = ("recall", "precision", "f1", "ndcg", "mrr_at", "average_precision")
    assert all(getattr(F, name)(*nothing, 3).isnan().all() for name in names)
    assert F.mrr(*nothing).isnan().all()
    assert F.auc(*nothing, torch.tensor([3])).isnan().all()


@pytest.fixture
def judged() -> tuple[Tensor, Tensor]:
    """Scores without ties, and gains, of the targets of six examples."""
    generator = torch.Generator().manual_seed(3)
    score = torch.randn(len(EXAMPLE), generator=generator)
    return score, torch.randint(4, (len(EXAMPLE),), generator=generator) / 3


@pytest.mark.parametrize("k", [1, 3, 10])
def test_graded_ndcg_is_that_of_scikit_learn(judged: tuple[Tensor, Tensor], k: int) -> None:
    score, gain = judged
    found = F.ndcg(EXAMPLE, rank_within(score, EXAMPLE), gain, k)
    for example in range(6):
        of = example == EXAMPLE
        expected = ndcg_score(gain[of][None], score[of][None], k=k)
        assert found[example].item() == pytest.approx(expected, abs=1e-12)


def test_a_perfect_order_has_ndcg_1(judged: tuple[Tensor, Tensor]) -> None:
    _, gain = judged
    distinct = gain - torch.arange(len(gain)) * 1e-4
    perfect = F.ndcg(EXAMPLE, rank_within(distinct, EXAMPLE), gain, 10)
    assert perfect[~perfect.isnan()].tolist() == pytest.approx([1.0] * 6)


def test_average_precision_is_what_scikit_learn_says_where_all_is_ranked() -> None:
    chance = np.random.default_rng(0)
    example = np.sort(chance.integers(0, 12, 90))
    score, positive = chance.permutation(90).astype(np.float32), chance.random(90) < 0.4
    positive[example == 3] = False
    of, relevant = torch.from_numpy(example), torch.from_numpy(positive)
    rank = rank_within(torch.from_numpy(score), of)
    found = F.average_precision(of, rank, relevant, 90)
    for each in range(12):
        y, s = positive[example == each], score[example == each]
        if y.any():
            assert float(found[each]) == pytest.approx(average_precision_score(y, s))
        else:
            assert found[each].isnan()


def rows(score: np.ndarray, label: np.ndarray, group: np.ndarray) -> Rows:
    logit, clicked, of = map(torch.from_numpy, (score, label, group))
    return Rows(logit, clicked, torch.sigmoid(logit.double()), of, 0.5)


def test_clicks_within_groups_are_targets_of_their_group() -> None:
    chance = np.random.default_rng(0)
    group = chance.integers(-1, 30, 400)
    score, label = chance.permutation(400).astype(np.float32), chance.integers(0, 2, 400)
    label[group == 3], label[group == 4] = 0, 1
    targets = rows(score, label, group).targets()
    assert targets is not None
    assert targets.candidates is not None
    found = F.ndcg(targets.example, targets.rank, targets.gain, 5)
    areas = F.auc(targets.example, targets.rank, targets.positive, targets.candidates)
    both = [g for g in range(30) if len(set(label[group == g].tolist())) == 2]
    expected = [ndcg_score([label[group == g]], [score[group == g]], k=5) for g in both]
    assert found.tolist() == pytest.approx(expected)
    expected = [roc_auc_score(label[group == g], score[group == g]) for g in both]
    assert areas.tolist() == pytest.approx(expected)


def test_ties_of_clicks_count_against_the_model() -> None:
    tied = rows(np.zeros(4, np.float32), np.array([1, 0, 0, 1]), np.zeros(4, np.int64))
    targets = tied.targets()
    assert targets is not None
    assert targets.rank.tolist() == [3, 4]


def test_no_group_with_both_classes_has_no_targets() -> None:
    ones, one = np.ones(2, np.float32), np.array([0, 1])
    assert rows(ones, np.ones(2), one).targets() is None
    assert rows(ones, one, np.array([-1, -1])).targets() is None
    metrics = ClickMetrics(torch.ones(2), torch.tensor([0, 1], dtype=torch.int32))
    metrics.update(torch.arange(2), torch.zeros(2))
    assert "mrr" not in metrics.figures(metrics.predictions(), 0.5)


def test_ties_broken_change_no_figure_of_a_single_target() -> None:
    example, rank = torch.arange(4), torch.tensor([3, 0, 1, 9])
    assert break_ties(rank, torch.ones(4), example).tolist() == rank.tolist()
