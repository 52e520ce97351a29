"""Ranking within groups against scikit-learn and plain Python."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score

from lightning_rec.metrics.grouped import names, ranking
from lightning_rec.metrics.order import in_order


def test_it_is_what_scikit_learn_and_counting_say() -> None:
    chance = np.random.default_rng(0)
    group = chance.integers(-1, 30, 400)
    score, label = chance.permutation(400).astype(np.float32), chance.integers(0, 2, 400)
    label[group == 3], label[group == 4] = 0, 1
    found = ranking(in_order(*map(torch.from_numpy, (score, label, group))), (2, 5))
    ndcg, recall, first, precision = [], [], [], []
    for each in range(30):
        rows = group == each
        s, y = score[rows], label[rows]
        if len(set(y.tolist())) < 2:
            continue
        ndcg.append(ndcg_score([y], [s], k=5))
        best = y[np.argsort(-s)]
        recall.append(best[:2].sum() / y.sum())
        at = [best[: place + 1].mean() for place in range(5) if best[place : place + 1].any()]
        precision.append(sum(at) / min(5, y.sum()))
        if len(y) <= 5:
            assert precision[-1] == pytest.approx(average_precision_score(y, s))
        first.append(1 / (1 + best.tolist().index(1)))
    assert float(found["ndcg@5"]) == pytest.approx(np.mean(ndcg))
    assert float(found["recall@2"]) == pytest.approx(np.mean(recall))
    assert float(found["map@5"]) == pytest.approx(np.mean(precision))
    assert float(found["mrr"]) == pytest.approx(np.mean(first))
    assert list(found) == names((2, 5))


def test_ties_count_against_the_model() -> None:
    label = torch.tensor([1, 0, 0, 1])
    found = ranking(in_order(torch.zeros(4), label, torch.tensor([0, 0, 0, 0])), (2, 4))
    assert float(found["recall@2"]) == 0
    assert float(found["mrr"]) == pytest.approx(1 / 3)


def test_no_group_with_both_classes_has_no_figures() -> None:
    assert ranking(in_order(torch.zeros(2), torch.ones(2), torch.tensor([0, 1]))) == {}
    assert ranking(in_order(torch.zeros(2), torch.tensor([0, 1]), torch.tensor([-1, -1]))) == {}
