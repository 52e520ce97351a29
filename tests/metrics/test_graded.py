"""Ranking metrics with several judged items per query, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, mean_squared_error, ndcg_score
from torch import Tensor

from lightning_rec.metrics import graded as F

GROUP = torch.repeat_interleave(torch.arange(6), torch.tensor([5, 8, 2, 12, 3, 6]))


@pytest.fixture
def judged() -> tuple[Tensor, Tensor]:
    """Scores without ties, and gains, of the pairs of six queries."""
    generator = torch.Generator().manual_seed(3)
    score = torch.randn(len(GROUP), generator=generator)
    return score, torch.randint(4, (len(GROUP),), generator=generator) / 3


@pytest.mark.parametrize("k", [1, 3, 10])
def test_ndcg_is_that_of_scikit_learn(judged: tuple[Tensor, Tensor], k: int) -> None:
    score, gain = judged
    found = F.ndcg(F.ranks_within(score, GROUP), gain, GROUP, k)
    for query in range(6):
        of = query == GROUP
        wanted = ndcg_score(gain[of][None], score[of][None], k=k)
        assert found[query].item() == pytest.approx(wanted, abs=1e-12)


def test_ranks_count_ties_against_and_know_no_numbers() -> None:
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    score = torch.tensor([0.5, 2.0, 0.5, torch.nan, 1.0, 1.0, -torch.inf])
    assert F.ranks_within(score, group).tolist() == [3, 1, 3, 4, 2, 2, 1]


def test_ties_are_parted_in_the_worst_order() -> None:
    group = torch.tensor([0, 0, 0, 0, 1, 1])
    rank = torch.tensor([7, 7, 1, 7, 0, 0])
    gain = torch.tensor([0.5, 1.0, 0.2, 0.0, 1.0, 0.5])
    assert F.parted(rank, gain, group).tolist() == [6, 7, 1, 5, 0, 0]


def test_a_perfect_order_has_ndcg_1_and_no_gain_has_none(judged: tuple[Tensor, Tensor]) -> None:
    _, gain = judged
    distinct = gain - torch.arange(len(gain)) * 1e-4
    perfect = F.ndcg(F.ranks_within(distinct, GROUP), gain, GROUP, 10)
    assert perfect[gain_of(gain) > 0].tolist() == pytest.approx(
        [1.0] * int((gain_of(gain) > 0).sum())
    )
    assert F.ndcg(F.ranks_within(distinct, GROUP), 0 * gain, GROUP, 10).isnan().all()


def gain_of(gain: Tensor) -> Tensor:
    return torch.zeros(6).index_add_(0, GROUP, gain)


def test_recall_and_mrr_by_hand() -> None:
    group = torch.tensor([0, 0, 0, 1, 1, 2, 3])
    positive = torch.tensor([True, False, True, True, True, False, True])
    rank = torch.tensor([4, 1, 20, 11, 2, 1, 0])  # the last one was not found
    assert F.recall(rank, positive, group, 10).tolist()[:2] == [0.5, 0.5]
    assert F.recall(rank, positive, group, 20).tolist()[:2] == [1.0, 1.0]
    assert F.recall(rank, positive, group, 20)[2].isnan()
    assert F.recall(rank, positive, group, 20)[3] == 0
    mrr = F.mrr(rank, positive, group)
    assert mrr.tolist()[:2] == [0.25, 0.5]
    assert mrr[2].isnan()
    assert mrr[3] == 0
    assert F.defined(mrr).item() == pytest.approx(0.25)
    # A query whose relevant items stand at 2 and 11, gains 1 and .5.
    ndcg = F.ndcg(rank, torch.tensor([0.0, 0, 0, 0.5, 1.0, 0, 0]), group, 10)[1]
    ideal = 1 + 0.5 / np.log2(3)
    assert ndcg.item() == pytest.approx(1 / np.log2(3) / ideal)


def test_the_line_is_that_of_least_squares(judged: tuple[Tensor, Tensor]) -> None:
    score, gain = judged
    slope, intercept = np.polyfit(score.double().numpy(), gain.double().numpy(), 1)
    assert F.line(score, gain) == pytest.approx((intercept, slope), abs=1e-9)
    assert F.line(torch.ones(4), torch.tensor([0.0, 1, 1, 1])) == (0.75, 0.0)
    wanted = mean_squared_error(gain, score) ** 0.5
    assert F.rmse(score, gain).item() == pytest.approx(wanted, abs=1e-6)


def test_average_precision_is_what_scikit_learn_says_where_all_is_ranked() -> None:
    chance = np.random.default_rng(0)
    group = np.sort(chance.integers(0, 12, 90))
    score, positive = chance.permutation(90).astype(np.float32), chance.random(90) < 0.4
    positive[group == 3] = False
    args = torch.from_numpy(positive), torch.from_numpy(group)
    rank = F.ranks_within(torch.from_numpy(score), args[1])
    found, cut = F.average_precision(rank, *args, 90), F.average_precision(rank, *args, 3)
    for each in range(12):
        y, s = positive[group == each], score[group == each]
        if not y.any():
            assert found[each].isnan()
            assert cut[each].isnan()
            continue
        assert float(found[each]) == pytest.approx(average_precision_score(y, s))
        best = y[np.argsort(-s)]
        at = [best[: place + 1].mean() for place in range(3) if best[place : place + 1].any()]
        assert float(cut[each]) == pytest.approx(sum(at) / min(3, y.sum()))
    lost = F.average_precision(torch.zeros_like(rank), *args, 3)
    assert float(lost.nansum()) == 0
