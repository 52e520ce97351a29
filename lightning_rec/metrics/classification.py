"""Metrics of predicted probabilities, as pure functions of all rows: exact, without a Python loop.

Ties are worth half, as in the definition of the area under the curve by pairs. Everything is
computed in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def auc(score: Tensor, label: Tensor) -> Tensor:
    """Area under the ROC curve: the share of pairs of a click and a non-click in the right order.

    By the ranks of the clicks (Mann and Whitney): (sum of ranks - P (P + 1) / 2) / (P N).

    Args:
        score: float [n].
        label: 0 or 1, [n].

    Returns:
        float64 scalar; NaN where a class is missing.
    """
    positive = label.double()
    ranks = _ranks(score)
    clicks, others = positive.sum(), (1 - positive).sum()
    return ((ranks * positive).sum() - clicks * (clicks + 1) / 2) / (clicks * others)


class Grouped(NamedTuple):
    """The area under the curve by groups.

    gauc: mean over groups, weighted by their rows; NaN where no group has both classes.
    groups: how many have both classes.  left_out: how many have one class alone.
    """

    gauc: Tensor
    groups: Tensor
    left_out: Tensor


def gauc(score: Tensor, label: Tensor, group: Tensor) -> Grouped:
    """Area under the curve within each group, weighted by rows (Zhu et al., KDD 2017).

    A group of one class has no area and is left out; so are rows of no group.

    Args:
        score: float [n].
        label: 0 or 1, [n].
        group: int [n], numbers from 0; -1 for a row of no group.
    """
    kept = group >= 0
    score, positive, group = score[kept], label[kept].double(), group[kept].long()
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    score, positive, group = score[order], positive[order], group[order]
    ranks = _ranks_in_order(_runs(group, score))  # of all rows; groups stand one after another
    rows = torch.bincount(group).double()
    before = torch.cumsum(rows, 0) - rows
    within = ranks - before[group]
    clicks = torch.zeros_like(rows).index_add_(0, group, positive)
    summed = torch.zeros_like(rows).index_add_(0, group, within * positive)
    both = (clicks > 0) & (clicks < rows)
    clicks, others, summed = clicks[both], (rows - clicks)[both], summed[both]
    areas = (summed - clicks * (clicks + 1) / 2) / (clicks * others)
    weight = rows[both]
    left_out = ((rows > 0) & ~both).sum()
    return Grouped((areas * weight).sum() / weight.sum(), both.sum(), left_out)


def logloss(logit: Tensor, label: Tensor) -> Tensor:
    """Mean negative log-likelihood: mean of log(1 + exp(z)) - y z, exact for any logit."""
    z, y = logit.double(), label.double()
    return (torch.nn.functional.softplus(z, threshold=700) - y * z).mean()


def information_gain(logit: Tensor, label: Tensor) -> Tensor:
    """Relative gain over predicting the rate of these rows for each: 1 - logloss / entropy.

    One less the normalised entropy of He et al. (ADKDD 2014): 0 for the base rate, 1 for certainty.
    """
    rate = label.double().mean()
    entropy = -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))
    return 1 - logloss(logit, label) / entropy


def average_precision(score: Tensor, label: Tensor) -> Tensor:
    """Area under the curve of precision and recall: sum of (R_n - R_(n-1)) P_n over thresholds."""
    at = _thresholds(score, label)
    precision = at.hits / at.chosen
    recall = at.hits / at.hits[-1]
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=recall.dtype, device=recall.device))
    return (steps * precision).sum()


def best_threshold(score: Tensor, label: Tensor) -> Tensor:
    """The score from which on to predict a click so that F1 is highest; the highest such score."""
    at = _thresholds(score, label)
    f1 = 2 * at.hits / (at.chosen + at.hits[-1])
    return at.score[torch.argmax(f1)]


def at_threshold(score: Tensor, label: Tensor, threshold: float) -> dict[str, Tensor]:
    """Precision, recall, F1 and accuracy where scores of at least ``threshold`` predict a click.

    Precision is 0 where nothing is predicted.
    """
    chosen, positive = score.double() >= threshold, label.double() > 0.5
    hits, all_chosen, all_positive = (
        mask.sum().double() for mask in (chosen & positive, chosen, positive)
    )
    return {
        "precision": hits / all_chosen.clamp(min=1),
        "recall": hits / all_positive.clamp(min=1),
        "f1": 2 * hits / (all_chosen + all_positive).clamp(min=1),
        "accuracy": (chosen == positive).double().mean(),
    }


class Reliability(NamedTuple):
    """Predictions against what came, in bins of equal width; all float64 [bins].

    rows: how many predictions fall into it.  predicted: their mean.  rate: mean of their labels.
    The last two are NaN for an empty bin.
    """

    rows: Tensor
    predicted: Tensor
    rate: Tensor


def reliability(probability: Tensor, label: Tensor, bins: int) -> Reliability:
    """Bin probabilities by [0, 1/bins), [1/bins, 2/bins), …; 1 falls into the last."""
    p = probability.double()
    place = (p * bins).nan_to_num(0.0).long().clamp(0, bins - 1)
    zeros = torch.zeros(bins, dtype=torch.float64, device=p.device)
    rows = zeros.index_add(0, place, torch.ones_like(p))
    predicted, rate = (zeros.index_add(0, place, of) / rows for of in (p, label.double()))
    return Reliability(rows, predicted, rate)


def calibration_error(found: Reliability) -> Tensor:
    """Expected calibration error (Naeini et al., AAAI 2015): sum of n_b / n |rate - predicted|."""
    off = (found.rate - found.predicted).abs().nan_to_num(0.0)
    return (found.rows * off).sum() / found.rows.sum()


class _Thresholds(NamedTuple):
    """For each distinct score, from the highest down: rows chosen from it on, and their clicks."""

    score: Tensor
    chosen: Tensor
    hits: Tensor


def _thresholds(score: Tensor, label: Tensor) -> _Thresholds:
    order = torch.argsort(score, descending=True, stable=True)
    score = score[order]
    last = torch.ones_like(score, dtype=torch.bool)  # of the rows with this very score
    last[:-1] = score[1:] != score[:-1]
    hits = torch.cumsum(label[order].double(), 0)[last]
    chosen = torch.arange(1, len(score) + 1, dtype=torch.float64, device=score.device)[last]
    return _Thresholds(score[last].double(), chosen, hits)


def _ranks(score: Tensor) -> Tensor:
    """Rank of each score from 1, the mean rank for ties: float64 [n]."""
    order = torch.argsort(score, stable=True)
    ranks = torch.empty(len(score), dtype=torch.float64, device=score.device)
    ranks[order] = _ranks_in_order(_runs(score[order]))
    return ranks


def _runs(*columns: Tensor) -> Tensor:
    """Whether each row begins a run of rows that are alike in all columns: bool [n]."""
    begins = torch.ones(len(columns[0]), dtype=torch.bool, device=columns[0].device)
    begins[1:] = torch.stack([column[1:] != column[:-1] for column in columns]).any(dim=0)
    return begins


def _ranks_in_order(begins: Tensor) -> Tensor:
    """Ranks from 1 of rows in order, the mean for each run: float64 [n]."""
    run = torch.cumsum(begins, 0) - 1
    length = torch.bincount(run).double()
    last = torch.cumsum(length, 0)
    return (last - (length - 1) / 2)[run]
