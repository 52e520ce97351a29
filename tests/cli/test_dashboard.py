"""What trackers have of a sweep as a whole, of its jobs' files, and of runs that runs build on."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli.offline import history_of, offline_records
from cli.processes import read

from lightning_rec import cli


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client of a store of this test's own."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


def table(summary: Path, shown: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table that was logged offline."""
    (files,) = summary.glob("wandb/offline-run-*/files")
    found = read(files / shown["path"])
    return found["columns"], found["data"]


def test_a_sweep_has_one_summary_with_table_verdicts_and_plots(
    small: list[str], tmp_path: Path, store: Any
) -> None:
    pytest.importorskip("matplotlib")
    folder, summary = tmp_path / "dim", tmp_path / "dim" / "summary"
    sweep = ["train", "-m", *small, "trainer.max_epochs=1", f"run_dir={folder}"]
    sweep += ["model.dim=8,16", "logger=[wandb,mlflow,csv]"]
    cli.run([*sweep, "seed=1"])
    ids = read(summary / "trackers.json")
    cli.run([*sweep, "seed=1,2"])
    assert read(summary / "trackers.json") == ids
    assert len(list(folder.glob("*/run.json"))) == 4

    records = list(offline_records(summary))  # there is one run alone
    run = next(each.run for each in records if each.WhichOneof("record_type") == "run")
    told = (run.run_id, run.display_name, run.run_group, run.job_type)
    assert told == (ids["wandb"], "dim", "dim", "summary")
    assert list(run.tags) == ["table", "leave_one_out", "bert4rec", "summary"]
    logged = history_of(records)
    names, rows = table(summary, logged["summary/settings"])
    (expected,) = read(folder / "sweep.json")["tables"]
    assert [row[0] for row in rows] == [row["setting"] for row in expected["rows"]]
    for row, of in zip(rows, expected["rows"], strict=True):
        assert row[1] == of["jobs"] == 2
        for figure in ("val/ndcg@10", "test/ndcg@10"):
            spread = of["figures"][figure]
            assert row[names.index(figure)] == spread["mean"]
            assert row[names.index(f"{figure} sd")] == spread["sd"] is not None
    assert not any(name.startswith(("popularity/", "test/cold/")) for name in names)
    columns, (verdict,) = table(summary, logged["summary/verdicts"])
    best, other = (row["setting"] for row in expected["rows"])
    assert verdict[columns.index("verdict")].startswith(f"{other} minus {best}, test/ndcg@10: ")
    (files,) = summary.glob("wandb/offline-run-*/files")
    for name in ("curves", "cost", "differences"):
        shown = logged[f"summary/{name}"]
        assert (files / shown["path"]).read_bytes().startswith(b"\x89PNG")
        assert shown["width"] > 900

    parent = store.get_run(ids["mlflow"])
    assert (parent.info.run_name, parent.info.status) == ("dim", "FINISHED")
    tags = parent.data.tags
    assert (tags["jobs"], tags["completed"], tags["best setting"]) == ("4", "4", best)
    query = f"tags.mlflow.parentRunId = '{ids['mlflow']}'"
    children = store.search_runs([parent.info.experiment_id], query)
    jobs = {read(card)["trackers"]["mlflow"] for card in folder.glob("*/run.json")}
    assert {each.info.run_id for each in children} == jobs
    assert len(store.search_runs([parent.info.experiment_id])) == 5
    split = json.loads(Path(store.download_artifacts(ids["mlflow"], "settings.json")).read_text())
    assert (split["columns"], split["data"]) == (names, rows)
    pandas = pytest.importorskip("pandas")
    loaded = store.load_table(parent.info.experiment_id, "verdicts.json", [ids["mlflow"]])
    assert isinstance(loaded, pandas.DataFrame)
    assert list(loaded["setting"]) == [other]
    plots = {each.path for each in store.list_artifacts(ids["mlflow"], "plots")}
    assert plots == {"plots/curves.png", "plots/cost.png", "plots/differences.png"}


def test_trackers_that_fail_stop_no_sweep(
    small: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = ["train", "-m", *small, "trainer.max_epochs=1", f"run_dir={tmp_path / 'sweep'}"]
    broken = tmp_path / "sweep" / "summary" / "trackers.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    cli.run([*sweep, "logger=wandb", "seed=1"])
    assert "logger=wandb has no summary of" in caplog.text
    assert f"{broken} is not JSON" in caplog.text
    assert read(tmp_path / "sweep" / "0" / "run.json")["status"] == "completed"


def test_a_sweep_without_these_trackers_has_no_summary(small: list[str], tmp_path: Path) -> None:
    cli.run(["train", "-m", *small, "trainer.max_epochs=1", "seed=1", f"run_dir={tmp_path}"])
    assert not (tmp_path / "summary").exists()
