"""What trackers have of a sweep as a whole, of its jobs' files, and of runs that runs build on."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli.offline import artifacts_of, history_of, offline_records, settings_of
from cli.processes import read

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.runs import artifacts, checksums
from lightning_rec.runs.folder import RunFolder


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


@pytest.mark.slow
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


def test_runs_of_a_paper_and_of_a_search_say_whose_they_are(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    one = [each for each in small if not each.startswith(("logger=", "trainer.max_epochs="))]
    one = [*one, "trainer.max_epochs=1"]
    rows = {"bert": {"config": one, "published": {"test/ndcg@10": 0.2}, "seeds": 1}}
    paper = {"citation": "Doe 2026", "figures": ["test/ndcg@10"], "rows": rows}
    (tmp_path / "doe2026").mkdir()
    (tmp_path / "doe2026" / "paper.yaml").write_text(yaml.safe_dump(paper))
    assert cli.run(["reproduce", "doe2026", "logger=wandb", "runs=runs"]) == 0
    (tmp_path / "space.yaml").write_text("model.heads: {choices: [1, 2]}\n")
    search = [*one, "logger=wandb", "trials=1", "seeds=[]", "space=space.yaml", "to=tune"]
    assert cli.run(["tune", *search]) == 0

    def told(folder: Path) -> tuple[str, str, set[str], dict[str, Any]]:
        records = list(offline_records(folder))
        run = next(each.run for each in records if each.WhichOneof("record_type") == "run")
        return run.display_name, run.run_group, set(run.tags), history_of(records)

    runs, name = tmp_path / "runs" / "doe2026", f"{tmp_path.name}/tune"
    *whose, tags, logged = told(runs / "bert_seed1")
    assert whose == ["bert seed=1", "doe2026"]
    assert tags == {"table", "leave_one_out", "bert4rec", "doe2026", "bert"}
    assert read(tmp_path / "doe2026" / "runs" / "bert_seed1.json")["curve"]
    *whose, tags, logged = told(runs / "summary")
    assert (*whose, tags) == ("doe2026", "doe2026", {"doe2026", "summary"})
    columns, (row,) = table(runs / "summary", logged["summary/rows"])
    shown = dict(zip(columns, row, strict=True))
    assert (shown["row"], shown["published"], shown["seeds"]) == ("bert", 0.2, 1)
    assert shown["mean"] == read(runs / "bert_seed1" / "metrics.json")["test/ndcg@10"]
    *whose, tags, _ = told(tmp_path / "tune" / "trials" / "0")
    assert whose == ["trial 0", name]
    assert {f"search:{name}"[:64], "trial:0"} < tags
    columns, (row,) = table(tmp_path / "tune" / "summary", told(tmp_path / "tune" / "summary")[-1]["summary/trials"])  # fmt: skip
    shown = dict(zip(columns, row, strict=True))
    assert (shown["trial"], shown["state"]) == (0, "complete")
    assert shown["model.heads"] in (1, 2)
    figures = read(tmp_path / "tune" / "trials" / "0" / "metrics.json")
    assert shown["val/ndcg@10"] == figures["val/ndcg@10"]


def test_files_of_a_run_go_along_and_lead_to_the_run_that_it_is_built_of(
    small: list[str], tmp_path: Path, store: Any
) -> None:
    address = f"logger.mlflow.tracking_uri=sqlite:///{tmp_path / 'mlflow.db'}"
    first = ["logger=[wandb,mlflow]", "logger.wandb.artifact=weights", address]
    cli.run(["train", *small, *first, f"run_dir={tmp_path / 'first'}"])
    ids = read(tmp_path / "first" / "run.json")["trackers"]
    records = list(offline_records(tmp_path / "first"))
    words = [word for record in records for word in record.environment.args]
    assert "model.dim=8" in words
    assert not any("tracking_uri" in word for word in words)
    (artifact,) = artifacts_of(records, "training")
    assert artifact.name == f"training-{ids['wandb']}"
    files = {each.path: Path(each.local_path) for each in artifact.manifest.contents}
    expected = {"config.yaml", "run.json", "metrics.json", "checksums.json", "items.parquet"}
    assert files.keys() == expected | {"weights.safetensors"}
    for name in ("config.yaml", "run.json"):
        assert "tracking_uri=" not in files[name].read_text()
        assert str(tmp_path / "mlflow.db") not in files[name].read_text()
        assert str(tmp_path / "mlflow.db") in (tmp_path / "first" / name).read_text()
    kept = RunFolder.open(files["config.yaml"].parent)  # by its checksums
    assert kept.config.logger.mlflow.tracking_uri is None
    assert kept.metrics == read(tmp_path / "first" / "metrics.json")
    downloaded, own = (
        load_run(folder).recommend([["i01", "i08"]], k=3)
        for folder in (kept.path, tmp_path / "first")
    )
    assert downloaded.equals(own)
    assert {each.path for each in store.list_artifacts(ids["mlflow"], "run")} == {
        f"run/{name}" for name in ("config.yaml", "run.json", "metrics.json", "checksums.json")
    }


def test_a_tuned_run_names_the_run_that_was_pretrained(
    small: list[str], log_csv: Path, tmp_path: Path, store: Any
) -> None:
    pytest.importorskip("peft")
    first, tuned = tmp_path / "first", tmp_path / "tuned"
    both = ["logger=[wandb,mlflow]", "trainer.max_epochs=1", "logger.wandb.artifact=weights"]
    cli.run(["train", *small, *both, "protocol=temporal", f"run_dir={first}"])
    clicks = [
        "model=deepfm", "data=click_table", f"data.path={log_csv}", "data.fields.label=stars",
        "data.fields.positive_from=3", "data.fields.categorical=[uid,sku]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "data.fields.history_max_len=8", "protocol=temporal_rows", "model.dim=4", "model.mlp=[8]",
        "trainer=cpu", "baseline=null", "adapter=frozen",
    ]  # fmt: skip
    cli.run(["train", *clicks, *both, f"encoder.run={first}", f"run_dir={tuned}"])
    ids, own = (read(each / "run.json")["trackers"] for each in (first, tuned))
    records = list(offline_records(tuned))
    named = f"lightning_rec/training-{ids['wandb']}"
    assert settings_of(records)["uses"] == {"encoder.run": named}
    assert store.get_run(own["mlflow"]).data.tags["uses/encoder.run"] == ids["mlflow"]
    (artifact,) = artifacts_of(records, "training")
    parts = {each.path for each in artifact.manifest.contents if each.path.startswith("parts/")}
    assert "parts/encoder.run/weights.safetensors" in parts
    staged = Path(artifact.manifest.contents[0].local_path)
    staged = next(each for each in staged.parents if each.name == "artifact")
    checksums.verify_all(staged)
    part = RunFolder.open(staged / "parts" / "encoder.run")
    assert part.config.logger.mlflow.tracking_uri is None

    class Online:
        """W&B's run, whose server knows no artifact of another run yet."""

        offline, config = False, dict[str, Any]()
        asked = list[str]()

        def use_artifact(self, name: str) -> None:
            self.asked.append(name)
            raise ValueError("no such artifact")

    online: Any = Online()
    online.config = type("Config", (), {"update": lambda *settings, **named: None})()
    artifacts.use_at_wandb(online, artifacts.used(RunFolder.open(tuned)))
    assert online.asked == [f"{named}:latest"]


def test_a_sweep_of_runs_that_keep_no_file_has_none(small: list[str], tmp_path: Path) -> None:
    cli.run(["train", *small, "logger=wandb", "logger.wandb.artifact=none", f"run_dir={tmp_path}"])
    assert not artifacts_of(list(offline_records(tmp_path)), "training")


def test_a_workspace_shows_sweeps_by_setting(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb_workspaces")
    from lightning_rec.reports.workspace import workspace

    made = workspace("me", "music", ["val/ndcg@10", "test/ndcg@10"])
    assert (made.entity, made.project) == ("me", "music")
    spec = made._to_model().spec.model_dump(by_alias=True, exclude_none=True)["section"]
    shown = {each["name"]: each["panels"] for each in spec["panelBankConfig"]["sections"]}
    assert list(shown) == ["sweeps", "compared", "training", "cost"]
    *tables, pictures = shown["sweeps"]
    for panel, name in zip(tables, ("summary/settings", "summary/verdicts"), strict=True):
        assert f'"val": "{name}"' in json.dumps(panel)
    assert "summary/curves" in pictures["config"]["mediaKeys"]
    curve, bar = (panel["config"] for panel in shown["compared"])
    assert (curve["metrics"], bar["metrics"]) == (["val/ndcg@10"], ["test/ndcg@10"])
    for panel in (curve, bar):
        over = (panel["groupBy"], panel["groupAgg"], panel["groupArea"])
        assert over == ("tracking.value.setting", "mean", "stddev")
    (runs,) = spec["runSets"]
    assert [each["name"] for each in runs["grouping"]] == ["group", "tracking.value.setting"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "log in first, wandb login" in refused("workspace", "entity=me")
    assert "lightning-rec workspace entity=NAME" in refused("workspace", "project=music")
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert "pip install 'lightning-rec[workspaces]'" in refused("workspace", "entity=me")
