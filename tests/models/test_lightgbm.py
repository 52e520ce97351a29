"""LightGBM beside its own interface; what every model of clicks has is in the contract tests."""

import sys
from dataclasses import replace
from itertools import groupby

import lightgbm
import numpy as np
import polars
import pytest
import torch
from sklearn.metrics import roc_auc_score

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.batches import ClickSet
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.schema import ClickSchema, Field
from lightning_rec.errors import UserError
from lightning_rec.models.clicks.lightgbm import LightGBM

SCHEMA = ClickSchema((Field("user", "categorical", 1, 21, 1), Field("price", "numeric", 22, 1, 0)))


def rows(number: int = 3000) -> Encoded:
    """A click is likely where the price is near 0, for odd users."""
    chance = np.random.default_rng(0)
    user, price = chance.integers(2, 22, number), chance.normal(size=number).astype(np.float32)
    label = (chance.random(number) < np.where((user % 2 == 1) & (abs(price) < 0.7), 0.9, 0.2)) * 1.0
    part = np.split(np.arange(number), [2000, 2500])
    empty = polars.DataFrame()
    return Encoded(  # type: ignore[call-arg]
        SCHEMA, user[:, None].astype(np.int32), price[:, None], label.astype(np.float32), None,
        None, *part, empty, empty, None, {},
    )  # fmt: skip


def scores(model: LightGBM, encoded: Encoded, part: str) -> np.ndarray:
    found: np.ndarray = model(ClickSet(encoded, part).__getitems__(list(range(500))).rows).numpy()
    return found


def test_it_is_what_lightgbm_itself_makes_of_the_rows() -> None:
    encoded, model = rows(), LightGBM(SCHEMA)
    model.fit(encoded)
    ours = scores(model, encoded, "test")
    table = np.concatenate([encoded.ids - 2, encoded.values], axis=1)
    theirs = lightgbm.LGBMClassifier(  # threads that wait for each other spin: a minute for 0.1 s
        n_jobs=1,
        n_estimators=2000, learning_rate=0.05, reg_lambda=1.0, min_data_per_group=20,
        random_state=1, deterministic=True, force_row_wise=True, verbosity=-1,
    ).fit(
        table[encoded.train], encoded.label[encoded.train], categorical_feature=[0],
        eval_set=[(table[encoded.val], encoded.label[encoded.val])],
        callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )  # fmt: skip
    wanted = theirs.predict(table[encoded.test], raw_score=True)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
    assert roc_auc_score(encoded.label[encoded.test], ours) > 0.75


def test_the_order_within_groups_is_what_its_ranker_makes_of_them() -> None:
    """Groups lie anywhere in the table; the ranker itself wants them one after another."""
    group = np.random.default_rng(1).permutation(np.arange(3000) % 300).astype(np.int32)
    encoded = replace(rows(), group=group)
    model = LightGBM(SCHEMA, learns="order")
    model.fit(encoded)
    ours = scores(model, encoded, "test")
    table = np.concatenate([encoded.ids - 2, encoded.values], axis=1)
    parts = {}
    for name in ("train", "val"):
        own = getattr(encoded, name)[np.argsort(group[getattr(encoded, name)], kind="stable")]
        sizes = [len([*of]) for _, of in groupby(group[own])]
        parts[name] = (table[own], encoded.label[own], sizes)
    theirs = lightgbm.LGBMRanker(
        n_jobs=1,
        n_estimators=2000, learning_rate=0.05, reg_lambda=1.0, min_data_per_group=20,
        random_state=1, deterministic=True, force_row_wise=True, verbosity=-1,
    ).fit(
        *parts["train"][:2], group=parts["train"][2], categorical_feature=[0],
        eval_set=[parts["val"][:2]], eval_group=[parts["val"][2]], eval_at=[10],
        callbacks=[lightgbm.early_stopping(50, verbose=False)],
    )  # fmt: skip
    wanted = theirs.predict(table[encoded.test], raw_score=True)
    np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=r"needs data\.fields\.group"):
        LightGBM(SCHEMA, learns="order").fit(rows())


def test_a_seed_decides_and_without_validation_all_rounds_are_made() -> None:
    encoded = replace(rows(), val=np.zeros(0, dtype=np.int64))
    made = [LightGBM(SCHEMA, rounds=5, feature_drop=0.5, seed=seed) for seed in (1, 1, 2)]
    for model in made:
        model.fit(encoded)
    assert torch.equal(made[0].booster, made[1].booster)
    assert not torch.equal(made[0].booster, made[2].booster)
    assert made[0].booster.numpy().tobytes().decode().count("\nTree=") == 5


def test_without_the_extra_it_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"lightning-rec\[gbdt\]"):
        problem_of(config.compose(["model=lightgbm"]))
