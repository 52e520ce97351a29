"""Metrics of probabilities against scikit-learn, torchmetrics and loops over pairs."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from lightning_rec.metrics import classification as F
from lightning_rec.metrics.clicks import BINS, CUTOFFS, ClickMetrics
from lightning_rec.metrics.measure import names_of
from lightning_rec.metrics.order import in_order


def some(rows: int = 400, seed: int = 0, distinct: int = 37) -> tuple[Tensor, Tensor]:
    """Logits with many ties, and labels that follow them."""
    chance = np.random.default_rng(seed)
    logit = np.round(chance.normal(size=rows) * distinct / 6) * 6 / distinct
    label = chance.random(rows) < 1 / (1 + np.exp(-logit))
    return torch.from_numpy(logit).float(), torch.from_numpy(label).float()


def by_pairs(score: list[float], label: list[float]) -> float:
    """The definition: clicks above non-clicks, ties worth half."""
    clicks = [s for s, y in zip(score, label, strict=True) if y]
    others = [s for s, y in zip(score, label, strict=True) if not y]
    won = sum((a > b) + (a == b) / 2 for a, b in itertools.product(clicks, others))
    return won / (len(clicks) * len(others))


@pytest.mark.parametrize("seed", range(3))
def test_auc(seed: int) -> None:
    score, label = some(seed=seed)
    assert float(F.auc(in_order(score, label))) == pytest.approx(
        by_pairs(score.tolist(), label.tolist()), abs=1e-12
    )
    assert float(F.auc(in_order(score, label))) == pytest.approx(
        sk.roc_auc_score(label, score), abs=1e-12
    )
    assert float(F.auc(in_order(torch.zeros(10), label[:10]))) == 0.5
    assert math.isnan(F.auc(in_order(score, torch.ones_like(score))))


def test_gauc_by_a_loop_over_groups() -> None:
    score, label = some(300)
    group = torch.randint(-1, 40, (300,), generator=torch.Generator().manual_seed(1))
    group[:4], label[:4] = torch.tensor([90, 90, 91, 91]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    total, rows, left_out = 0.0, 0, 0
    for number in set(group.tolist()) - {-1}:
        inside = group == number
        if 0 < label[inside].sum() < inside.sum():
            total += int(inside.sum()) * by_pairs(score[inside].tolist(), label[inside].tolist())
            rows += int(inside.sum())
        else:
            left_out += 1
    grouped = in_order(score, label, group)
    assert float(F.gauc(grouped)) == pytest.approx(total / rows, abs=1e-12)
    groups = F.group_counts(grouped)
    assert int(F.gauc_groups_left_out(groups)) == left_out >= 2
    assert int(F.gauc_groups(groups)) == len(set(group.tolist()) - {-1}) - left_out


def test_losses() -> None:
    logit, label = some()
    p = torch.sigmoid(logit.double()).numpy()
    assert float(F.logloss(logit, label)) == pytest.approx(sk.log_loss(label, p), abs=1e-12)
    far = torch.tensor([800.0, -800.0, 800.0])
    assert float(F.logloss(far, torch.tensor([1.0, 0.0, 0.0]))) == pytest.approx(800 / 3)
    rate = float(label.mean())
    base = sk.log_loss(label, np.full(len(label), rate))
    wanted = 1 - sk.log_loss(label, p) / base
    assert float(F.information_gain(logit, label)) == pytest.approx(wanted, abs=1e-7)
    constant = torch.full_like(logit, math.log(rate / (1 - rate)))
    assert float(F.information_gain(constant, label)) == pytest.approx(0, abs=1e-6)
    assert float(F.base_logloss(label)) == pytest.approx(base, abs=1e-9)
    assert float(F.normalized_entropy(logit, label)) == pytest.approx(1 - wanted, abs=1e-7)
    assert F.normalized_entropy(logit, torch.ones_like(label)).isnan()


@pytest.mark.parametrize("seed", range(3))
def test_average_precision(seed: int) -> None:
    score, label = some(seed=seed)
    wanted = sk.average_precision_score(label, score)
    assert float(F.average_precision(in_order(score, label))) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_threshold_has_the_highest_f1(seed: int) -> None:
    score, label = some(seed=seed)
    every = {t: sk.f1_score(label, score.double() >= t) for t in score.double().unique().tolist()}
    best = float(F.best_threshold(score, in_order(score, label)))
    assert every[best] == pytest.approx(max(every.values()), abs=1e-12)


@pytest.mark.parametrize("threshold", [-1.0, 0.3, 99.0])
def test_at_a_threshold(threshold: float) -> None:
    score, label = some()
    chosen = score.double() >= threshold
    found = F.confusion(score, label, threshold)
    for name in ("precision", "recall", "f1"):
        wanted = getattr(sk, f"{name}_score")(label, chosen, zero_division=0.0)
        assert float(getattr(F, name)(found)) == pytest.approx(wanted, abs=1e-12), name
    assert float(F.accuracy(found)) == pytest.approx(sk.accuracy_score(label, chosen))


@pytest.mark.parametrize("bins", [5, 10])
def test_calibration(bins: int) -> None:
    logit, label = some()
    p = torch.sigmoid(logit.double())
    found = F.reliability(p, label, bins)
    assert found.rows.sum() == len(p)
    inside = (p >= 0.2) & (p < 0.4)
    two = F.reliability(p, label, 5)
    assert two.rows[1] == inside.sum()
    assert float(two.predicted[1]) == pytest.approx(float(p[inside].mean()))
    assert float(two.rate[1]) == pytest.approx(float(label[inside].double().mean()))
    wanted = binary_calibration_error(p, label.long(), n_bins=bins, norm="l1")
    assert float(F.calibration_error(found)) == pytest.approx(float(wanted), abs=1e-6)
    edges = F.reliability(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), bins)
    assert edges.rows[[0, -1]].tolist() == [1, 1]
    assert float(F.calibration_error(edges)) == 0


def test_figures_do_not_depend_on_batches_or_their_order() -> None:
    logit, label = some()
    group = torch.randint(0, 9, (len(label),)).int()
    figures = []
    for parts in ([torch.arange(400)], torch.randperm(400).split(33)):
        metrics = ClickMetrics(label, group)
        for part in parts:
            metrics.update(part, logit[part])
        figures.append(metrics.figures(metrics.predictions(), 0.5))
    assert set(figures[0]) == set(names_of(ClickMetrics.of_config(None), CUTOFFS))
    assert {k: float(v) for k, v in figures[0].items()} == {
        k: float(v) for k, v in figures[1].items()
    }
    assert float(figures[0]["auc"]) == pytest.approx(sk.roc_auc_score(label, logit))
    assert float(figures[0]["ece"]) == pytest.approx(
        float(binary_calibration_error(torch.sigmoid(logit), label.long(), n_bins=BINS)), abs=1e-6
    )


def test_a_part_of_the_examples_is_measured_on_its_own() -> None:
    logit, label = some()
    metrics = ClickMetrics(label, torch.zeros(400, dtype=torch.int32))
    part = torch.arange(100, 200)
    metrics.update(part, logit[part])
    figures = metrics.figures(metrics.predictions(), 0.5)
    assert (
        float(figures["auc"])
        == float(figures["gauc"])
        == pytest.approx(sk.roc_auc_score(label[part], logit[part]))
    )


def test_groups_of_one_class_alone_leave_no_gauc() -> None:
    metrics = ClickMetrics(torch.tensor([1.0, 0.0]), torch.tensor([0, 1], dtype=torch.int32))
    metrics.update(torch.arange(2), torch.zeros(2))
    figures = metrics.figures(metrics.predictions(), 0.5)
    assert figures["gauc"].isnan()
    assert "ndcg@10" not in figures
    assert figures["gauc_groups_left_out"] == 2


def test_one_row_alone_is_measured() -> None:
    metrics = ClickMetrics(torch.ones(1), torch.zeros(1, dtype=torch.int32))
    metrics.update(torch.arange(1), torch.zeros(1))
    figures = metrics.figures(metrics.predictions(), 0.5)
    assert float(figures["logloss"]) == pytest.approx(math.log(2))
    assert float(figures["accuracy"]) == float(figures["pr_auc"]) == 1
    assert math.isnan(figures["auc"])
