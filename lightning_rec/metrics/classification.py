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

    Args:
        order: of all rows as one group.

    Returns:
        float64 scalar; NaN where a class is missing.
    """
    clicks, rows = order.label.sum(), len(order.label)
    return _won(order.runs, clicks.new_zeros(1)).sum() / (clicks * (rows - clicks))


class Grouped(NamedTuple):
    """The area under the curve by groups.

    gauc: mean over groups, weighted by their rows; NaN where no group has both classes.
    groups: how many have both classes.  left_out: how many have one class alone.
    """

    gauc: Tensor
    groups: Tensor
    left_out: Tensor


def gauc(order: Ordered) -> Grouped:
    """Area under the curve within each group, weighted by rows (Zhu et al., KDD 2017).

    A group of one class has no area and is left out; so are rows of no group.
    """
    rows = torch.bincount(order.group).double()
    clicks = torch.bincount(order.group, weights=order.label)
    won = _won(order.runs, torch.cumsum(clicks, 0) - clicks)
    both = (clicks > 0) & (clicks < rows)
    won = torch.bincount(order.runs.group, weights=won)[both]
    weight, clicks = rows[both], clicks[both]
    areas = won / (clicks * (weight - clicks))
    left_out = ((rows > 0) & ~both).sum()
    return Grouped((areas * weight).sum() / weight.sum(), both.sum(), left_out)


def _won(runs: Runs, before: Tensor) -> Tensor:
    """Pairs of a click and a non-click of each run that the click wins, ties worth half: [r].

    Args:
        runs: float64 [r].
        before: float64 [groups], clicks of the groups before each.
    """
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

    Args:
        score: float [n], in any order; it may be another one than that of ``order``, as long as
            both rise together.
        order: of all rows as one group.
    """
    chosen, hits = torch.cumsum(order.runs.rows, 0), torch.cumsum(order.runs.clicks, 0)
    best = int(chosen[torch.argmax(2 * hits / (chosen + hits[-1]))])
    return score.double().kthvalue(len(score) + 1 - best).values


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
