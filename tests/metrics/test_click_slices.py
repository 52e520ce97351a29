"""Figures of slices of clicks: who belongs where, and that each figure is that of its rows alone."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from lightning_rec.metrics.clicks import ClickMetrics
from lightning_rec.metrics.slices import slices_of_field

ROWS = 300
CHANCE = np.random.default_rng(3)
SEEN = CHANCE.choice([0, 1, 9, 10, 99, 100, 5000], ROWS)
LOGIT = CHANCE.normal(size=ROWS)
LABEL = (CHANCE.random(ROWS) < 1 / (1 + np.exp(-LOGIT))).astype(np.float32)
SLICES = slices_of_field("user", torch.from_numpy(SEEN))


def members(name: str) -> np.ndarray:
    masks: dict[str, np.ndarray] = {
        "user_cold": SEEN == 0,
        "user_warm": SEEN > 0,
        "user_1_9": (SEEN > 0) & (SEEN < 10),
        "user_10_99": (SEEN > 9) & (SEEN < 100),
        "user_100_up": SEEN > 99,
    }
    return masks[name]


def figures(order: np.ndarray) -> dict[str, float]:
    metrics = ClickMetrics(torch.from_numpy(LABEL), slices=SLICES)
    for part in np.array_split(order, 7):
        metrics.update(torch.from_numpy(part), torch.from_numpy(LOGIT[part]))
    found = metrics.figures(metrics.predictions(), 0.5)
    return {name: float(value) for name, value in found.items()}


def test_figures_of_a_slice_are_those_of_its_rows() -> None:
    found = figures(CHANCE.permutation(ROWS))
    assert len(SLICES) == 5
    probability = 1 / (1 + np.exp(-LOGIT.astype(np.float32).astype(float)))
    for name in SLICES:
        inside = members(name)
        assert found[f"{name}/examples"] == inside.sum() > 0
        assert found[f"{name}/auc"] == pytest.approx(roc_auc_score(LABEL[inside], LOGIT[inside]))
        assert found[f"{name}/logloss"] == pytest.approx(
            log_loss(LABEL[inside], probability[inside])
        )
        assert found[f"{name}/rate"] == pytest.approx(LABEL[inside].mean())
    assert found["auc"] == pytest.approx(roc_auc_score(LABEL, LOGIT))


def test_slices_of_some_rows_only() -> None:
    some = np.flatnonzero((SEEN != 0) & (np.arange(ROWS) % 3 > 0))
    found = figures(some)
    assert found["user_cold/examples"] == 0
    assert "user_cold/auc" not in found
    inside = some[SEEN[some] > 99]
    assert found["user_100_up/auc"] == pytest.approx(roc_auc_score(LABEL[inside], LOGIT[inside]))
