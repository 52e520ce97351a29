"""Training goes on from a bundle as from the run that it was exported from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec import cli, load_run
from lightning_rec.bundle.export import export
from lightning_rec.bundle.manifest import read, write
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError

QUICK = ["logger=none", "trainer=cpu", "baseline=null", "trainer.max_epochs=1"]
SEQUENCES = [
    "model=sasrec", "model.dim=8", "data=table", "data.user=uid", "data.item=sku", "data.time=ts",
    "protocol.drop_doubled=false", "batches.max_len=10", "examples=0", *QUICK,
]  # fmt: skip
CLICKS = [
    "model=deepfm", "model.dim=8", "data=click_table", "protocol=temporal_rows",
    "data.fields.label=clicked", "data.fields.categorical=[uid,sku]", "data.fields.numeric=[price]",
    "data.fields.time=ts", *QUICK,
]  # fmt: skip
Made = dict[str, Path]


@pytest.fixture(scope="module")
def clicks(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("clicks")
    return made(click_frame.head(500), click_frame, folder, CLICKS)


@pytest.fixture(scope="module")
def sequences(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Made:
    early = log_frame.filter(pl.col("ts") < 1_600_001_200, pl.col("sku") != "i30")
    return made(early, log_frame, tmp_path_factory.mktemp("sequences"), SEQUENCES)


def made(early: pl.DataFrame, late: pl.DataFrame, folder: Path, settings: list[str]) -> Made:
    early.write_csv(folder / "early.csv")
    late.write_csv(folder / "late.csv")
    run = folder / "run"
    assert cli.run(["train", *settings, f"data.path={folder / 'early.csv'}", f"run_dir={run}"]) == 0
    return {"run": run, "late": folder / "late.csv", "bundle": export(run, folder / "bundle")}


@pytest.fixture(params=["clicks", "sequences"])
def both(request: pytest.FixtureRequest) -> Made:
    found: Made = request.getfixturevalue(request.param)
    return found


def test_it_goes_on_as_from_the_run(both: Made, tmp_path: Path) -> None:
    told = [f"data.path={both['late']}", "trainer.max_epochs=1"]
    for source in ("run", "bundle"):
        assert (
            cli.run(["train", f"from={both[source]}", *told, f"run_dir={tmp_path / source}"]) == 0
        )
    cards = [read_json(tmp_path / source / "run.json") for source in ("run", "bundle")]
    assert cards[0]["begun"] == cards[1]["begun"]
    figures = [read_json(tmp_path / source / "metrics.json") for source in ("run", "bundle")]
    assert figures[0] == figures[1]
    # It is a run as others are, though the bundle is gone: evaluated, asked, gone on with.
    moved = tmp_path / "bundle"
    assert cli.run(["evaluate", f"run={moved}"]) == 0
    assert load_run(moved).name == load_run(both["run"]).name


def test_no_path_of_the_machine_is_in_it(both: Made) -> None:
    kept = (both["bundle"] / "training.json").read_text()
    assert str(both["run"].parent) not in kept
    assert json.loads(kept)["data"]["path"] is None


def changed(bundle: Path, to: Path, change: Callable[[Path], None]) -> Path:
    """A copy of a bundle with something changed, and hashes that are as they should be."""
    shutil.copytree(bundle, to)
    manifest = read(to)
    change(to)
    (to / "bundle.json").unlink()
    write(to, manifest.kind, manifest.settings)
    return to


def rewrite(**columns: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "trained.parquet"
        pl.read_parquet(path).with_columns(**columns).write_parquet(path)

    return change


NONE = pl.lit(None)
POISON: dict[str, list[tuple[Callable[[Path], None], str]]] = {
    "sequences": [
        (rewrite(events=pl.col("events") + 1000), "more events of one"),
        (rewrite(events=pl.col("events").cast(pl.Float64)), "has not the columns events"),
        (rewrite(events=NONE.cast(pl.UInt32)), "empty cell"),
        (rewrite(until=NONE.cast(pl.Int64)), "no time of a user's last event"),
        (rewrite(until=pl.col("until").cast(pl.String)), "where a number belongs"),
        (rewrite(more=1), "has not the columns events"),
        (lambda folder: pl.read_parquet(folder / "trained.parquet").head(3).write_parquet(
            folder / "trained.parquet"), "another number of users"),
    ],
    "clicks": [
        (rewrite(rows=-pl.col("rows")), "without rows or times"),
        (rewrite(since=pl.lit(float("nan"))), "without rows or times"),
        (rewrite(since=pl.col("until") + 1), "ends before it begins"),
        (rewrite(part=NONE.cast(pl.String)), "empty cell"),
        (rewrite(rows=pl.col("rows").cast(pl.String)), "has not the columns"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", ["clicks", "sequences"])
def test_tables_of_a_stranger_are_checked(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found: Made = request.getfixturevalue(kind)
    for number, (change, words) in enumerate(POISON[kind]):
        bundle = changed(found["bundle"], tmp_path / f"{number}", change)
        run = tmp_path / f"run_{number}"
        with pytest.raises(UserError, match=words):
            cli.run(["train", f"from={bundle}", f"data.path={found['late']}", f"run_dir={run}"])
        assert not run.exists()


def test_a_config_of_a_stranger_runs_no_code(clicks: Made, tmp_path: Path) -> None:
    def evil(folder: Path) -> None:
        path = folder / "training.json"
        tree = json.loads(path.read_text())
        tree["optimizer"] = {"_target_": "os.system", "command": "touch owned"}
        tree["data"]["path"] = "/etc/passwd"
        path.write_text(json.dumps(tree))

    bundle = changed(clicks["bundle"], tmp_path / "evil", evil)
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"os\.system"):
        cli.run(["train", f"from={bundle}", f"data.path={clicks['late']}", f"run_dir={run}"])
    assert not run.exists()


def test_what_holds_too_little_is_refused(sequences: Made, tmp_path: Path) -> None:
    without = export(sequences["run"], tmp_path / "without", users=False)
    assert not (without / "training.json").exists()
    (tmp_path / "shrunk").mkdir()
    (tmp_path / "shrunk" / "shrink.json").write_text("{}")
    told = [f"data.path={sequences['late']}", f"run_dir={tmp_path / 'run'}"]
    for folder, words in {
        without: "Name the run",
        tmp_path / "shrunk": "is a shrunk model",
    }.items():
        with pytest.raises(UserError, match=words):
            cli.run(["train", f"from={folder}", *told])
    shutil.copytree(sequences["bundle"], tmp_path / "cut")
    with (tmp_path / "cut" / "trained.parquet").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="not as it was written"):
        cli.run(["train", f"from={tmp_path / 'cut'}", *told])
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="is there already"):
        cli.run(["train", f"from={sequences['bundle']}", *told])
