"""What is told of a sweep before and while it runs, from the cards of its jobs."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lightning_rec.errors import UserError
from lightning_rec.reports.progress import Progress
from lightning_rec.runs import provenance
from lightning_rec.runs.launchers import Launched, launched, prepare

BASIC = Launched("BasicLauncher", 1, "")
TWO = Launched("JoblibLauncher", 2, "hydra.launcher.n_jobs=1")
JOBS = [[f"model.dim={dim}", "logger=none"] for dim in (4, 8, 16, 32)]


def job(folder: Path, name: str, dim: int, seconds: float = 0.0, **facts: Any) -> None:
    """A job that is completed, unless ``facts`` say otherwise."""
    path = folder / name
    path.mkdir()
    ended = datetime.now(UTC)
    card = {
        "status": "completed",
        "overrides": [f"model.dim={dim}", "logger=csv"],
        "started": (ended - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        "finished": ended.isoformat(timespec="seconds"),
        "peak_memory_mib": 1024.0,
    }
    (path / "config.yaml").write_text("monitor: val/ndcg@10\n")
    (path / "metrics.json").write_text('{"val/ndcg@10": 0.25}')
    (path / "run.json").write_text(json.dumps(card | facts))


def begun(folder: Path, how: Launched = BASIC, **asked: bool) -> Progress:
    for path in folder.glob("*/run.json"):  # before the sweep began
        os.utime(path, (1, 1))
    progress = Progress(folder, JOBS, ["model.dim"], how)
    progress.begin(**asked)
    return progress


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_nothing_is_known_before_a_job_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = begun(tmp_path)
    assert told(capsys) == ["Sweep  4 jobs; what they cost is not known until one has ended."]
    job(tmp_path, "0", 4, 60)
    job(tmp_path, "7", 9, 60)  # of another sweep in the same folder
    progress.look()
    progress.look()
    assert told(capsys) == ["[1/4] model.dim=4  val/ndcg@10 0.2500  60 s, about 3.0 min to go"]
    job(tmp_path, "1", 8, 120)
    job(tmp_path, "2", 16, status="failed", error="UserError: no")
    progress.look()
    assert told(capsys) == [
        "[2/4] model.dim=8  val/ndcg@10 0.2500  2.0 min, about 90 s (60 s to 2.0 min) to go",
        "[3/4] model.dim=16  failed: UserError: no, about 90 s (60 s to 2.0 min) to go",
    ]
    progress.end()
    assert progress.left == 1


def test_jobs_that_ended_before_tell_what_the_rest_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(tmp_path, "0", 4, 60)
    job(tmp_path, "1", 8, 6000, earlier=[{"status": "interrupted"}])  # how long is not known
    job(tmp_path, "2", 16, status="failed")  # is tried again
    progress = begun(tmp_path, TWO)
    assert told(capsys) == [
        "Sweep  4 jobs, 2 of them done already, 2 at once; about 60 s to go, memory up to 1.0 GiB "
        "a job."
    ]
    began = (datetime.now(UTC) - timedelta(seconds=20)).isoformat(timespec="seconds")
    card = tmp_path / "2" / "run.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"status": "running", "started": began}))  # fmt: skip
    job(tmp_path, "3", 32, 60)
    progress.end()
    (line,) = told(capsys)
    assert line.startswith("[3/4] model.dim=32  val/ndcg@10 0.2500  60 s, about ")
    assert 35 <= int(line.rpartition("about ")[2].split()[0]) <= 40  # what runs is 20 s on its way


def test_a_job_that_differs_in_no_effect_is_done_with_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = begun(tmp_path)
    job(tmp_path, "0", 4)
    (tmp_path / "0" / "job.json").write_text('{"without_effect": ["model.dim"]}')
    told(capsys)
    progress.look()
    assert told(capsys) == ["[4/4] model.dim=4  val/ndcg@10 0.2500  0 s"]


def test_jobs_that_do_not_fit_into_memory_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provenance, "memory_mib", lambda: 1536.0)
    job(tmp_path, "0", 4)
    with pytest.raises(UserError) as refusal:
        begun(tmp_path, TWO)
    assert str(refusal.value) == (
        "2 jobs at once would need about 2.0 GiB of memory, by what those took that have ended "
        "(1.0 GiB), and there are 1.5 GiB. Run fewer at once, hydra.launcher.n_jobs=1. Or say "
        "check_memory=false."
    )
    begun(tmp_path, TWO, check_memory=False).end()
    begun(tmp_path, BASIC)
    begun(tmp_path, Launched("SlurmLauncher", 2, "")).end()
    job(tmp_path, "1", 8, peak_vram_mib=900.0, vram_mib=1000.0, peak_memory_mib=1.0)
    monkeypatch.setattr(provenance, "memory_mib", lambda: None)
    with pytest.raises(UserError, match=r"about 1\.8 GiB of GPU memory"):
        begun(tmp_path, TWO)


def test_the_first_job_may_show_that_more_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(provenance, "memory_mib", lambda: 1536.0)
    progress = begun(tmp_path, TWO)
    job(tmp_path, "0", 4)
    time.sleep(0.01)
    progress.end()
    assert capsys.readouterr().err.count("WARNING  2 jobs at once would need about 2.0 GiB") == 1


def hydra(launcher: dict[str, Any], **more: Any) -> Any:
    return OmegaConf.create({"launcher": launcher, "sweep": {"dir": "s"}, **more})


def test_how_many_jobs_run_at_once_and_on_how_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    joblib = {"_target_": "x.JoblibLauncher", "n_jobs": -1}
    assert launched(hydra(joblib), 20)[:3] == ("JoblibLauncher", 8, "hydra.launcher.n_jobs=4")
    assert launched(hydra(joblib | {"n_jobs": 1}), 20).here
    local = {"_target_": "x.LocalLauncher", "cpus_per_task": 2}
    assert launched(hydra(local), 20)[1:] == (20, "hydra.sweeper.max_batch_size=10", 2)
    assert launched(hydra(local, sweeper={"max_batch_size": 3}), 20).at_once == 3
    ray = {"_target_": "x.RayLauncher", "ray": {"init": {}, "remote": {"num_cpus": 3}}}
    assert launched(hydra(ray), 20)[1:] == (2, "+hydra.launcher.ray.init.num_cpus=1", 3)
    slurm = {"_target_": "x.SlurmLauncher", "array_parallelism": 4, "cpus_per_task": None}
    assert launched(hydra(slurm), 20).at_once == 4
    assert launched(hydra(slurm), 20).outlive
    assert not any(launched(hydra(each), 20).outlive for each in (joblib, local, ray))


def test_pickles_lie_where_nobody_has_written_before(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [hydra({"submitit_folder": "s/.submitit/%j"}) for _ in range(2)]
    local = Launched("LocalLauncher", 2, "")
    for each in made:
        prepare(each, local)
    folders = [str(each.launcher.submitit_folder) for each in made]
    assert folders[0] != folders[1]
    assert all(each.startswith("s/.submitit/") and each.endswith("/%j") for each in folders)
    own = hydra({"submitit_folder": "/mine/%j"})
    prepare(own, local)
    assert own.launcher.submitit_folder == "/mine/%j"
    monkeypatch.setenv("PATH", "")
    slurm = Launched("SlurmLauncher", 2, "")
    with pytest.raises(UserError, match="there is no srun here"):
        prepare(hydra({"submitit_folder": "s/.submitit/%j"}), slurm)


def test_joblib_starts_no_more_processes_than_jobs_run_at_once() -> None:
    made = hydra({"n_jobs": 3000})
    prepare(made, Launched("JoblibLauncher", 3, ""))
    assert made.launcher.n_jobs == 3
    with pytest.raises(UserError, match="n_jobs=0: say how many"):
        prepare(hydra({"n_jobs": 0}), Launched("JoblibLauncher", 3, ""))
