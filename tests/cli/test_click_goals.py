"""Several goals through the command line: each has its figures, its column and its curve."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from cli.processes import read
from sklearn.metrics import roc_auc_score

from lightning_rec import cli

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def goals(click_csv: Path) -> list[str]:
    """Overrides of a run that predicts the click, and whether the row is worth 2."""
    return [
        "model=mmoe", "data=click_table", f"data.path={click_csv}", "data.fields.label=null",
        "+data.fields.goals={click: {column: clicked}, dear: {column: worth, positive_from: 2}}",
        "data.fields.categorical=[uid,sku,device]", "data.fields.group=uid", "monitor=val/click/auc",
        "protocol.val=0.2", "protocol.test=0.2", "model.dim=8", "model.mlp=[16]", "model.tower=[]",
        "batches.batch_size=32", "optimizer.lr=0.02", "schedule=warmup_decay", "logger=csv",
        "trainer.accelerator=cpu", "trainer.max_epochs=15", "callbacks=[checkpoint,progress]",
    ]  # fmt: skip


def test_each_goal_is_measured(goals: list[str], click_frame: pl.DataFrame, tmp_path: Path) -> None:
    assert cli.run(["train", *goals, f"run_dir={tmp_path / 'r'}"]) == 0
    figures = read(tmp_path / "r" / "metrics.json")
    rows = pl.read_parquet(tmp_path / "r" / "test_rows.parquet")
    came = click_frame[rows["row"].to_list()]
    assert rows["label_click"].to_list() == came["clicked"].to_list()
    assert rows["label_dear"].to_list() == (came["worth"] >= 2).cast(pl.Int8).to_list()
    for goal in ("click", "dear"):
        auc = roc_auc_score(rows[f"label_{goal}"], rows[f"probability_{goal}"])
        assert figures[f"test/{goal}/auc"] == pytest.approx(auc, abs=1e-12)
        assert f"naivebayes/test/{goal}/auc" in figures
        above_chance = figures[f"naivebayes/test/{goal}/auc"] > 0.5
        assert (f"test/{goal}/rela_impr" in figures) == above_chance
    assert figures["test/click/auc"] > 0.75  # the other goal is chance
    assert "test/auc" not in figures
    bins = pl.read_parquet(tmp_path / "r" / "reliability.parquet")
    assert bins["goal"].unique().sort().to_list() == ["click", "dear"]
    assert cli.run(["evaluate", f"run={tmp_path / 'r'}"]) == 0


def test_what_goals_cannot_be_is_told(goals: list[str], refused: Refused, tmp_path: Path) -> None:
    folders = (f"run_dir={tmp_path / str(number)}" for number in range(4))
    one = [each for each in goals if not each.startswith("model")]
    said = refused("train", *one, "model=deepfm", next(folders))
    assert "DeepFM predicts one goal, but data.fields.goals has click, dear" in said
    assert "'dear' without 'click'" in refused("train", *one, "model=esmm", next(folders))
    said = refused("train", *goals, "monitor=val/auc", next(folders))
    assert "Did you mean 'val/" in said
    said = refused("train", *goals, "+task.goal_weights={deer: 2}", next(folders))
    assert "there is no goal deer" in said
