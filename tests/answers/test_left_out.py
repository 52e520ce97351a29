"""Users whom the filters of a protocol leave without an event are known to nobody."""

import math
from pathlib import Path

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.answers.similar import similar
from lightning_rec.build import load_run
from lightning_rec.bundle import open_model
from lightning_rec.errors import UserError, nearest
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.serving.opening import open_served

FEW = 15  # events that a user has at least


@pytest.fixture(scope="module")
def run(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("left")
    log_frame.write_csv(folder / "log.csv")
    asked = ["model=itemknn", "data=table", f"data.path={folder / 'log.csv'}", "data.user=uid",
             "data.item=sku", "data.time=ts", f"protocol.user_core={FEW}", "logger=none",
             "protocol.drop_doubled=false", "baseline=null", f"run_dir={folder / 'run'}"]  # fmt: skip
    assert cli.run(["train", *asked]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def left(log_frame: pl.DataFrame) -> list[str]:
    """Whom the filter leaves out."""
    counts = log_frame["uid"].value_counts()
    found: list[str] = counts.filter(pl.col("count") < FEW)["uid"].sort().to_list()
    assert 1 < len(found) < 30
    return found


def test_they_are_unknown_and_it_is_said_why(run: Path, left: list[str]) -> None:
    model = load_run(run)
    assert isinstance(model, SequencePredictor)
    with pytest.raises(UserError, match=f"no event of the user {left[0]}: the filters of its pro"):
        model.recommend(users=[left[0]])
    with pytest.raises(UserError, match="does not know the user nobody"):
        model.recommend(users=["nobody"])
    told = Told()
    assert model.recommend(users=[*left, "u4"], told=told, strict=False)["user"].unique()[0] == "u4"
    assert (told.unknown_users, told.empty) == (len(left), 0)
    assert open_served(run).users.keys() == set(model.known_users["user"])
    assert not set(model.known_users["user"]) & set(left)


def test_lift_counts_the_users_that_are_left(
    run: Path, left: list[str], log_frame: pl.DataFrame
) -> None:
    model = load_run(run)
    assert isinstance(model, SequencePredictor)
    own = log_frame.filter(~pl.col("uid").is_in(left))
    baskets = [set(items) for items in own.group_by("uid").agg("sku")["sku"]]
    best = similar(model, ["i07"], 1, "bought_together").row(0, named=True)
    pair = {"i07", best["similar"]}
    both = sum(pair <= basket for basket in baskets)
    each = [sum(item in basket for basket in baskets) for item in pair]
    assert best["together"] == both
    assert math.isclose(best["lift"], both * len(baskets) / math.prod(each), rel_tol=1e-6)


def test_a_bundle_is_tried_on_those_who_are_left(
    run: Path, left: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}", "users=yes"]) == 0
    assert "hold no item" not in caplog.text
    bundle = open_model(tmp_path / "bundle")
    with pytest.raises(UserError, match="no event of the user"):
        bundle.recommend(users=[left[0]])


def test_ids_that_differ_by_zeros_in_front_are_near() -> None:
    assert nearest("25", ["0252", "0025", "250"]) == " Did you mean '0025'?"
    assert nearest("0", ["1", "000"]) == " Did you mean '000'?"
    assert nearest("007", ["7"]) == " Did you mean '7'?"
