"""How good answers are that may be withheld: accuracy over coverage, and what confidence is worth.

Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks", section 2; the area
under the risk-coverage curve (AURC) of Geifman, Uziel & El-Yaniv 2019, "Bias-Reduced Uncertainty
Estimation for Deep Neural Classifiers", section 2.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from lightning_rec.answers.confidence import Asked, Confidence, Floats
from lightning_rec.metrics.classification import calibration_error, reliability

BINS = 10
COVERED = tuple(round(0.1 * step, 1) for step in range(1, 11))


def accuracy_over_coverage(sure: Floats, right: NDArray[np.bool_]) -> Floats:
    """Accuracy of the 1, 2, … n surest answers, float64 [n].

    Equal ones count as the mean over their orders.
    """
    order = np.argsort(-sure, kind="stable")
    _, place, number = np.unique(-sure[order], return_inverse=True, return_counts=True)
    hits = np.bincount(place, weights=right[order])
    mean = (hits / number)[place]  # of those that are as sure
    return np.asarray(mean.cumsum() / np.arange(1, len(sure) + 1))


def aurc(sure: Floats, right: NDArray[np.bool_]) -> float:
    """Area under the risk-coverage curve: mean over coverages of the share of wrong answers."""
    return float(1 - accuracy_over_coverage(sure, right).mean())


def measured(asked: Asked, confidence: Confidence, level: float = 0.95) -> dict[str, Any]:
    """What a confidence is worth on questions that it was not fitted on.

    ``accuracy``: share of right first answers, where all are given. ``least``, ``coverage``,
    ``answered_accuracy`` with ``low`` and ``high`` (Wilson): of those given from the threshold on.
    ``withheld``: share of the unanswerable questions to which nothing is said. ``aurc``, that by
    the score alone (``aurc_score``), and the least there could be (``aurc_best``); ``ece`` over ten
    bins and ``brier`` of the confidence. ``curve``: accuracy of the surest, by coverage.
    """
    sure, right = confidence.of(asked.facts), asked.right
    given, number = sure >= max(confidence.least, 1e-12), len(sure)
    bins = reliability(torch.from_numpy(sure), torch.from_numpy(right), BINS)
    shares = accuracy_over_coverage(sure, right)
    score = np.nan_to_num(asked.facts[:, 0], nan=-np.inf)
    facts: dict[str, Any] = {
        "questions": number,
        "answerable": int(asked.answerable.sum()),
        "accuracy": float(right.mean()),
        "least": confidence.least,
        "answered": int(given.sum()),
        "coverage": float(given.mean()),
        "answered_accuracy": float(right[given].mean()) if given.any() else None,
        "withheld": None if asked.answerable.all() else float(1 - given[~asked.answerable].mean()),
        "aurc": aurc(sure, right),
        "aurc_score": aurc(score, right),
        "aurc_best": aurc(right.astype(np.float64), right),
        "ece": float(calibration_error(bins)),
        "brier": float(((sure - right) ** 2).mean()),
        "curve": [
            {"coverage": each, "accuracy": float(shares[max(1, round(each * number)) - 1])}
            for each in COVERED
        ],
    }
    if given.any():
        test = binomtest(int(right[given].sum()), int(given.sum()))
        ends = test.proportion_ci(level, "wilson")
        facts |= {"low": float(ends.low), "high": float(ends.high)}
    return facts
