"""LR beside scikit-learn's: the same optimum, and on rows of ids at least the same order."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.batches import ClickSet
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.errors import UserError
from lightning_rec.models.clicks import lr
from lightning_rec.models.clicks.lr import LR
from lightning_rec.problems.clicks import Clicks


def encoded(path: Path, *overrides: str) -> Encoded:
    settings = ["model=lr", "data=click_table", f"data.path={path}", *overrides]
    problem = problem_of(config.compose(settings))
    assert isinstance(problem, Clicks)
    return problem.load(path.parent / "cache").data.encoded


def probabilities(model: LR, rows: Encoded, part: str) -> np.ndarray:
    batch = ClickSet(rows, part).__getitems__(list(range(len(rows.part(part)))))
    with torch.no_grad():
        return torch.sigmoid(model(batch.rows).double()).numpy()


@pytest.mark.parametrize("block", [50, 1 << 18])
def test_it_is_the_optimum_that_scikit_learn_finds(
    click_csv: Path, click_frame: pl.DataFrame, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr, "BLOCK", block)
    monkeypatch.setattr(lr, "CACHED", block)  # made again for each pass, or kept
    rows = encoded(
        click_csv, "data.fields.label=clicked", "data.fields.categorical=[uid,sku,device]",
        "data.fields.multi_valued=[tags]", "data.fields.numeric=[price]", "data.fields.weight=worth",
        "data.fields.group=uid", "protocol.val=0", "protocol.test=0.2",
        "schedule=warmup_decay",
    )  # fmt: skip
    model = LR(rows.schema, C=(0.5,), max_iter=2000)
    model.fit(rows)
    # An independent design matrix, out of the table itself.
    train = np.asarray(rows.train)
    frame = click_frame[train.tolist()]
    words = frame.select("uid", "sku", pl.col("device").fill_null("none")).to_numpy()
    tags = frame["tags"].fill_null("").str.split("|").to_list()
    kinds = ["new", "sale", "eco", "top"]
    shares = [
        [each.count(kind) / len([e for e in each if e] or [1]) for kind in kinds] for each in tags
    ]
    price = frame["price"].to_numpy()
    price = (price - np.nanmean(price)) / np.nanstd(price)
    matrix = hstack(
        [OneHotEncoder().fit_transform(words), csr_matrix(shares), np.nan_to_num(price)[:, None]]
    ).tocsr()
    label, weight = frame["clicked"].to_numpy(), frame["worth"].to_numpy()
    weight = weight / weight.mean()
    theirs = LogisticRegression(C=0.5, tol=1e-9, max_iter=5000).fit(matrix, label, weight)
    wanted = theirs.predict_proba(matrix)[:, 1]
    np.testing.assert_allclose(probabilities(model, rows, "train"), wanted, atol=2e-3)


def ids_and_sampled_negatives(path: Path, users: int = 1500, items: int = 400) -> Path:
    """Clicks of users on items by taste and popularity, and beside each an item at random."""
    chance = np.random.default_rng(0)
    taste, kind = chance.normal(size=(users, 8)), chance.normal(size=(items, 8))
    liking = 0.35 * taste @ kind.T - 0.6 * np.log(np.arange(1, items + 1))
    liked = np.argsort(-(liking + chance.gumbel(size=liking.shape)), axis=1)
    number = 1 + chance.poisson(4, size=users)
    user = np.repeat(np.arange(users), number)
    clicked = np.concatenate([row[:n] for row, n in zip(liked, number, strict=True)])
    rows = {"uid": np.concatenate([user, user])}
    rows["item"] = np.concatenate([clicked, chance.integers(items, size=len(user))])
    rows["label"] = np.repeat([1, 0], len(user))
    pl.DataFrame(rows).write_csv(path)
    return path


def test_on_rows_of_ids_it_is_no_worse_than_the_textbook(tmp_path: Path) -> None:
    path = ids_and_sampled_negatives(tmp_path / "clicks.csv")
    rows = encoded(path, "data.fields.label=label", "data.fields.categorical=[uid,item]")
    model = LR(rows.schema)
    model.fit(rows)
    ids = {part: np.asarray(rows.ids[rows.part(part)]) for part in ("train", "test")}
    label = {part: np.asarray(rows.label[rows.part(part)]) for part in ids}
    hot = OneHotEncoder(handle_unknown="ignore").fit(ids["train"])
    ours = probabilities(model, rows, "test")
    for c in (0.1, 1.0):
        theirs = LogisticRegression(C=c, max_iter=1000).fit(
            hot.transform(ids["train"]), label["train"]
        )
        p = theirs.predict_proba(hot.transform(ids["test"]))[:, 1]
        assert roc_auc_score(label["test"], ours) > roc_auc_score(label["test"], p) - 0.001
        assert log_loss(label["test"], ours) < log_loss(label["test"], p)
    assert log_loss(label["test"], ours) < 0.68  # the base rate has .693
    assert any(float(model.chosen[0]) == pytest.approx(c) for c in model.C)


@pytest.mark.parametrize(("pause", "chosen"), [(15, 19), (25, 3)])
def test_a_stretch_without_gain_does_not_end_the_search(
    pause: int, chosen: int, tmp_path: Path
) -> None:
    path = ids_and_sampled_negatives(tmp_path / "clicks.csv", users=100)
    rows = encoded(path, "data.fields.label=label", "data.fields.categorical=[uid,item]")
    worse = (1.0 for _ in range(pause))
    losses = iter([0.9, 0.8, 0.7, 0.6, *worse, *(0.5 for _ in range(500))])

    def val(weights: np.ndarray) -> tuple[float, np.ndarray]:
        return next(losses), weights

    found = lr.sought(lr.Likelihood(rows, rows.train), val, 100.0, 60)
    assert found.iteration == chosen


def test_what_makes_no_sense_is_refused() -> None:
    for overrides in (["model.C=[]"], ["model.C=[0]"], ["model@encoder.model=sasrec"]):
        with pytest.raises(UserError, match=r"C=\[\]|C|takes no encoder"):
            problem_of(config.compose(["model=lr", *overrides, "data.fields.past=clicks"]))
