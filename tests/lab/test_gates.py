"""A newer run is let through if it loses nothing: by lists that both would have shown."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.lab.gates import Part, gate

SETTINGS = [
    "data=table", "data.user=uid", "data.item=sku", "data.time=ts", "protocol.drop_doubled=false",
    "batches.max_len=10", "logger=none", "trainer=cpu", "baseline=null", "examples=0",
    "data.ties=file", "model.dim=8", "optimizer.lr=0.01", "batches.batch_size=8",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on all but the latest events of most users, and one that went on from it."""
    folder = tmp_path_factory.mktemp("gate")
    place = pl.int_range(pl.len()).over("uid")
    stays = (pl.col("uid").str.slice(1).cast(pl.Int32) % 5 == 0) | (
        place < pl.len().over("uid") - 5
    )
    log_frame.filter(stays & (pl.col("sku") != "i31")).write_csv(folder / "old.csv")
    log_frame.write_csv(folder / "new.csv")
    old, new = folder / "old", folder / "new"
    paths = {name: f"data.path={folder / name}.csv" for name in ("old", "new")}
    asked = ["model=sasrec", *SETTINGS, paths["old"], "trainer.max_epochs=4", f"run_dir={old}"]
    assert cli.run(["train", *asked]) == 0
    more = ["trainer.max_epochs=6", "method.replay=0.5", f"run_dir={new}"]
    assert cli.run(["train", f"from={old}", paths["new"], *more]) == 0
    return {"old": old, "new": new}


def examples_of(run: Path) -> list[dict[str, Any]]:
    """User, history and target of each example of a run's test, in raw ids."""
    items = pl.read_parquet(run / "items.parquet").sort("code")["item"].to_list()
    users = {row["user"]: row["items"] for row in pl.read_parquet(run / "users.parquet").to_dicts()}
    return [
        {
            "user": row["user"],
            "history": [items[code] for code in users[row["user"]][: row["history"]]],
            "target": row["item"],
        }
        for row in pl.read_parquet(run / "test_users.parquet").to_dicts()
    ]


def ndcg(run: Path, examples: list[dict[str, Any]]) -> list[float]:
    """ndcg@10 of each example, asking one history at a time."""
    predictor: Any = load_run(run)
    known = set(predictor.items["item"])
    values = []
    for each in examples:
        history = [item for item in each["history"] if item in known]
        best = predictor.recommend([history], k=10)["item"].to_list() if history else []
        hit = best.index(each["target"]) + 1 if each["target"] in best else None
        values.append(1 / math.log2(1 + hit) if hit else 0.0)
    return values


def test_its_figures_are_those_of_lists_asked_one_by_one(runs: dict[str, Path]) -> None:
    examples = examples_of(runs["new"])
    before, now = (np.array(ndcg(runs[name], examples)) for name in ("old", "new"))
    own = {(row["user"], row["target"]) for row in examples_of(runs["old"])}
    old = np.array([(row["user"], row["target"]) in own for row in examples])
    items = set(pl.read_parquet(runs["old"] / "items.parquet")["item"])
    known = np.array([row["target"] in items for row in examples])
    found = {part.name: part for part in gate(runs["new"], runs["old"]).parts}
    masks = {"new": ~old, "of known items": ~old & known, "of new items": ~old & ~known, "old": old}
    assert 0 < old.sum() < len(old)
    for name, mask in masks.items():
        part = found[name]
        assert part.targets == mask.sum()
        if part.targets:
            assert part.before == pytest.approx(before[mask].mean(), abs=1e-9)
            assert part.now == pytest.approx(now[mask].mean(), abs=1e-9)
            assert part.difference == pytest.approx((now - before)[mask].mean(), abs=1e-9)


def test_the_newer_one_has_its_own_figure(runs: dict[str, Path]) -> None:
    parts = {part.name: part for part in gate(runs["new"], runs["old"], "recall@5").parts}
    whole: list[Part] = [parts["new"], parts["old"]]
    mean = sum(each.targets * (each.now or 0) for each in whole) / sum(e.targets for e in whole)
    assert mean == pytest.approx(read_json(runs["new"] / "metrics.json")["test/recall@5"])


def test_a_run_that_lost_what_it_knew_is_not_released(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse, to = tmp_path / "worse", tmp_path / "gate.json"
    path = runs["new"].parent / "new.csv"
    asked = ["model=sasrec", *SETTINGS, f"data.path={path}", "trainer.max_epochs=0"]
    assert cli.run(["train", *asked, f"run_dir={worse}"]) == 0
    assert cli.run(["gate", f"run={worse}", f"against={runs['old']}", f"to={to}"]) == 3
    assert "Not released: on new targets the newer model may lose" in capsys.readouterr().out
    assert read_json(to)["released"] is False
    assert cli.run(["gate", f"run={runs['new']}", f"against={worse}", "margin=0.5"]) == 0


def test_what_cannot_be_compared_is_refused(runs: dict[str, Path]) -> None:
    new, old = (f"{runs[name]}" for name in ("new", "old"))
    for asked, words in {
        (f"run={old}", f"against={new}"): "has learnt",
        (f"run={new}", f"against={old}", "figure=auc"): "has a cut-off",
        (f"run={new}", f"against={old}", "figure=coverage@10"): "no metric of the rank",
        (f"run={new}", f"against={old}", "margin=1.5"): "margin=1.5",
        (f"run={new}", f"against={old}", "level=2"): "level=2",
        (f"run={new}",): "Say which runs",
        (f"run={new}", f"against={old}x"): "There is no folder",
    }.items():
        with pytest.raises(UserError, match=words):
            cli.run(["gate", *asked])
