"""Metrics of predicted probabilities, as pure functions of all rows: exact, without a Python loop.

Ties are worth half, as in the definition of the area under the curve by pairs. Everything is
computed in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.metrics.order import Ordered, Runs


def auc(order: Ordered) -> Tensor:
    """Area under the ROC curve: the share of pairs of a click and a non-click in the right order.

    NaN where a class is missing. ``order``: of all rows as one group.
    """
    clicks, rows = order.label.sum(), len(order.label)
    return _won(order.runs, clicks.new_zeros(1)).sum() / (clicks * (rows - clicks))


def gauc(grouped: Ordered, groups: "GroupCounts | None" = None) -> Tensor:
    """Area under the curve within each group, weighted by rows (Zhu et al., KDD 2017).

    A group of one class has no area and is left out; so are rows of no group. NaN where no group
    has both classes. ``groups``: as of :func:`group_counts`, if they are known.
    """
    rows, clicks, both = groups or group_counts(grouped)
    won = _won(grouped.runs, torch.cumsum(clicks, 0) - clicks)
    won = torch.bincount(grouped.runs.group, weights=won)[both]
    weight, clicks = rows[both], clicks[both]
    areas = won / (clicks * (weight - clicks))
    return (areas * weight).sum() / weight.sum()


class GroupCounts(NamedTuple):
    """Of each group: its rows and clicks, float64 [groups], and whether it has both classes."""

    rows: Tensor
    clicks: Tensor
    both: Tensor


def gauc_groups(groups: GroupCounts) -> Tensor:
    """How many groups have both classes."""
    return groups.both.sum()


def gauc_groups_left_out(groups: GroupCounts) -> Tensor:
    """How many groups have one class alone."""
    return ((groups.rows > 0) & ~groups.both).sum()


def group_counts(grouped: Ordered) -> GroupCounts:
    """Count rows and clicks of each group."""
    rows = torch.bincount(grouped.group).double()
    clicks = torch.bincount(grouped.group, weights=grouped.label)
    return GroupCounts(rows, clicks, (clicks > 0) & (clicks < rows))


def _won(runs: Runs, before: Tensor) -> Tensor:
    """Pairs that clicks of each run win, ties half: [r]; ``before``: clicks of earlier groups."""
    above = torch.cumsum(runs.clicks, 0) - runs.clicks - before[runs.group]
    return (runs.rows - runs.clicks) * (above + runs.clicks / 2)


def logloss(logit: Tensor, label: Tensor) -> Tensor:
    """Mean negative log-likelihood: mean of log(1 + exp(z)) - y z, exact for any logit."""
    z, y = logit.double(), label.double()
    return (torch.nn.functional.softplus(z, threshold=700) - y * z).mean()


def base_logloss(label: Tensor) -> Tensor:
    """Logloss of predicting the rate of these rows for each of them, the entropy of the rate."""
    rate = label.double().mean()
    return -(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate))


def normalized_entropy(logit: Tensor, label: Tensor) -> Tensor:
    """Logloss over that of the base rate (He et al., ADKDD 2014): above 1 is worse than the rate.

    NaN where all rows have one label: nothing is to be predicted.
    """
    base = base_logloss(label)
    return torch.where(base > 0, logloss(logit, label) / base, torch.nan)


def information_gain(logit: Tensor, label: Tensor) -> Tensor:
    """Relative gain over predicting the rate of these rows for each: 1 - logloss / entropy.

    One less the normalized entropy: 0 for the base rate, 1 for certainty.
    """
    return 1 - logloss(logit, label) / base_logloss(label)


def average_precision(order: Ordered) -> Tensor:
    """Area under the curve of precision and recall: sum of (R_n - R_(n-1)) P_n over thresholds."""
    hits = torch.cumsum(order.runs.clicks, 0)
    precision = hits / torch.cumsum(order.runs.rows, 0)
    return (order.runs.clicks * precision).sum() / hits[-1]


def best_threshold(score: Tensor, order: Ordered) -> Tensor:
    """The score from which on to predict a click so that F1 is highest; the highest such score.

    ``score``: float [n], in any order; it may be another one than that of ``order``, which is of
    all rows as one group, as long as both rise together.
    """
    chosen, hits = torch.cumsum(order.runs.rows, 0), torch.cumsum(order.runs.clicks, 0)
    best = int(chosen[torch.argmax(2 * hits / (chosen + hits[-1]))])
    return score.double().kthvalue(len(score) + 1 - best).values


class Confusion(NamedTuple):
    """Rows where scores of at least a threshold predict a click, float64 scalars.

    hits: clicks that are predicted.  chosen: all that are.  positive: all clicks.  right: rows of
    which the right class is predicted.  rows: all.
    """

    hits: Tensor
    chosen: Tensor
    positive: Tensor
    right: Tensor
    rows: int


def confusion(score: Tensor, label: Tensor, threshold: float) -> Confusion:
    """Count what a threshold gets right; score float [n], label 0 or 1, [n]."""
    chosen, positive = score.double() >= threshold, label.double() > 0.5
    return Confusion(
        hits=(chosen & positive).sum().double(),
        chosen=chosen.sum().double(),
        positive=positive.sum().double(),
        right=(chosen == positive).sum().double(),
        rows=len(label),
    )


def precision(confusion: Confusion) -> Tensor:
    """Share of the predicted clicks that are clicks; 0 where none is predicted."""
    return confusion.hits / confusion.chosen.clamp(min=1)


def recall(confusion: Confusion) -> Tensor:
    """Share of the clicks that are predicted."""
    return confusion.hits / confusion.positive.clamp(min=1)


def f1(confusion: Confusion) -> Tensor:
    """Harmonic mean of precision and recall."""
    return 2 * confusion.hits / (confusion.chosen + confusion.positive).clamp(min=1)


def accuracy(confusion: Confusion) -> Tensor:
    """Share of the rows whose class is predicted."""
    return confusion.right / confusion.rows


def threshold(threshold: float) -> Tensor:
    """The threshold itself, which validation chooses."""
    return torch.tensor(threshold, dtype=torch.float64)


def rate(label: Tensor) -> Tensor:
    """Share of the rows that are clicks."""
    return label.double().mean()


class Reliability(NamedTuple):
    """Predicted probabilities and observed rates in bins of equal width; all float64 [bins].

    rows: how many predictions fall into the bin.  predicted: their mean.  rate: mean of their
    labels. The last two are NaN for an empty bin.
    """

    rows: Tensor
    predicted: Tensor
    rate: Tensor


def reliability(probability: Tensor, label: Tensor, bins: int) -> Reliability:
    """Bin probabilities by [0, 1/bins), [1/bins, 2/bins), …; 1 falls into the last."""
    p = probability.double()
    bin_of = (p * bins).nan_to_num(0.0).long().clamp(0, bins - 1)
    zeros = torch.zeros(bins, dtype=torch.float64, device=p.device)
    rows = zeros.index_add(0, bin_of, torch.ones_like(p))
    predicted, rate = (zeros.index_add(0, bin_of, of) / rows for of in (p, label.double()))
    return Reliability(rows, predicted, rate)


def calibration_error(bins: Reliability) -> Tensor:
    """Expected calibration error (Naeini et al., AAAI 2015): sum of n_b / n |rate - predicted|."""
    off = (bins.rate - bins.predicted).abs().nan_to_num(0.0)
    return (bins.rows * off).sum() / bins.rows.sum()
