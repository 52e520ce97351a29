"""The five names of a notebook do what the command line does."""

import os
from pathlib import Path

import polars as pl
import pytest

import lightning_rec

LOG = ["data=table", "data.user=user", "data.item=item", "data.time=time"]
QUICK = [
    *["trainer=cpu", "logger=none", "trainer.max_epochs=1", "protocol.cutoffs=[1,5]"],
    *["monitor=val/ndcg@5", "model=sasrec", "model.dim=8", "baseline=null"],
]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines = [f"u{user},i{(user * 3 + t) % 20},{t}" for user in range(30) for t in range(8)]
    (tmp_path / "log.csv").write_text("user,item,time\n" + "\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return [*LOG, f"data.path={tmp_path / 'log.csv'}"]


def test_a_notebook_trains_asks_and_evaluates(log: list[str]) -> None:
    loaded = lightning_rec.load_data(*log, "protocol.cutoffs=[1,5]", "monitor=val/ndcg@5")
    assert loaded.data.split.num_items == 20
    assert repr(loaded).startswith("Audited(log: events read=240, users=30, ")
    run = lightning_rec.train(*log, *QUICK, f"run_dir={os.path.join('runs', 'one')}")  # noqa: PTH118
    assert run.path == Path("runs/one").absolute()
    assert repr(run) == f"RunFolder({run.path}, completed)"
    assert lightning_rec.evaluate(run.path)["test/ndcg@5"] == run.metrics["test/ndcg@5"]
    found = lightning_rec.load_run(run.path).recommend([["i1", "i2"]], k=3)
    assert isinstance(found, pl.DataFrame)
    assert len(found) == 3


def test_a_sweep_is_a_frame_of_runs(log: list[str]) -> None:
    runs = lightning_rec.sweep(*log, *QUICK, "seed=1,2", "run_dir=runs/many")
    assert runs["seed"].sort().to_list() == [1, 2]
    assert runs["test/ndcg@5"].is_between(0, 1).all()
