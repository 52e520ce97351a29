"""Sweeps by every launcher: the same table, jobs that make way, and an end when it is asked for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.processes import read

from lightning_rec import cli

Refused = Callable[..., str]
WORKER = "import sys; from lightning_rec.cli import main; main()"
LAUNCHERS = ["joblib", "submitit_local", "ray"]
JOBLIB, *MORE = (pytest.param(each, marks=pytest.mark.long) for each in LAUNCHERS)
EXTRA = {"joblib": ["hydra.launcher.n_jobs=2"], "ray": ["+hydra.launcher.ray.init.num_cpus=2"]}


def launched(launcher: str) -> list[str]:
    return [f"hydra/launcher={launcher}", *EXTRA.get(launcher, [])]


@pytest.fixture(autouse=True)
def no_ray() -> Iterator[None]:
    """Ends the cluster that a test began in this process."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture
def fitted(small: list[str]) -> list[str]:
    """Overrides of a model that is fitted at once."""
    quick = [each for each in small if not each.startswith(("model.", "batches.", "logger"))]
    return [*quick, "model=itemknn", "logger=none"]


def table(folder: Path) -> list[Any]:
    rows = [row for each in read(folder / "sweep.json")["tables"] for row in each["rows"]]
    return [(row["setting"], row["jobs"], row["figures"]) for row in rows]


def begin(*arguments: str) -> "subprocess.Popen[str]":
    """The command in a session of its own, as in a terminal, with all that it prints."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments], text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def cards(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: read(path) for path in folder.glob("*/run.json")}


def until(true: Callable[[], Any], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def trains(folder: Path, jobs: int = 1) -> bool:
    return len([*folder.glob("*/checkpoints/last.ckpt")]) >= jobs


@pytest.mark.parametrize("launcher", [JOBLIB, *LAUNCHERS[1:]])
def test_jobs_end_in_the_table_that_they_have_one_after_the_other(
    fitted: list[str], launcher: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = [*fitted, "model.neighbours=5,10"]
    cli.run(["train", "-m", *asked, f"run_dir={tmp_path / 'basic'}"])
    cli.run(["train", "-m", *asked, *launched(launcher), f"run_dir={tmp_path / 'other'}"])
    assert table(tmp_path / "other") == table(tmp_path / "basic")
    assert [each["status"] for each in cards(tmp_path / "other").values()] == ["completed"] * 2
    told = capfd.readouterr().out
    assert "Sweep  2 jobs, 2 at once; what they cost is not known until one has ended." in told
    assert "[1/2] model.neighbours=" in told
    assert "[2/2] model.neighbours=" in told
    assert " to go" not in told.partition("[2/2]")[2].splitlines()[0]
    if launcher == "submitit_local":  # nothing that lay there before was read
        (fresh,) = (tmp_path / "other" / ".submitit").iterdir()
        assert len(fresh.name) == 16
        assert cli.run(["sweep", str(tmp_path / "other")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", *MORE])
def test_what_fails_and_what_has_changed_is_told_from_other_processes_too(
    fitted: list[str], launcher: str, log_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(log_csv.read_text())
    where = [*fitted, f"data.path={path}", *launched(launcher), f"run_dir={tmp_path / 's'}"]
    with pytest.raises(SystemExit) as end:
        cli.run(["train", "-m", *where, "model.neighbours=5,0"])
    assert end.value.code == 1
    assert sorted(each["status"] for each in cards(tmp_path / "s").values()) == ["completed", "failed"]  # fmt: skip
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-9]))
    told = refused("train", "-m", *where, "model.neighbours=5,8")
    assert "data_hash of " in told


def test_a_job_that_submitit_stops_is_queued_again_and_goes_on(
    small: list[str], tmp_path: Path
) -> None:
    asked = [*small, "logger=none", "trainer.max_epochs=40", "patience=9999"]
    asked = ["train", "-m", *asked, "seed=1"]
    cli.run([*asked, f"run_dir={tmp_path / 'whole'}"])
    folder = tmp_path / "cut"
    with begin(*asked, *launched("submitit_local"), f"run_dir={folder}") as command:
        until(lambda: trains(folder))
        os.kill(read(folder / "0" / "run.json")["pid"], signal.SIGUSR2)
        told = command.communicate()[0]
    assert command.returncode == 0, told
    card = read(folder / "0" / "run.json")
    assert [each["status"] for each in card["earlier"]] == ["interrupted"]
    assert 0 < card["earlier"][0]["epochs"] < 40
    assert read(folder / "0" / "metrics.json") == read(tmp_path / "whole" / "0" / "metrics.json")


@pytest.mark.long
def test_a_job_out_of_time_that_may_not_be_queued_again_says_so(
    small: list[str], tmp_path: Path
) -> None:
    asked = [*small, "logger=none", "trainer.max_epochs=500", "patience=9999", "seed=1"]
    where = [*launched("submitit_local"), f"run_dir={tmp_path / 's'}"]
    card = tmp_path / "s" / "0" / "run.json"
    limit = "hydra.launcher.timeout_min=5"  # submitit takes such a job for one that is out of time
    with begin("train", "-m", *asked, *where, limit) as command:
        for times in range(4):
            until(lambda: trains(tmp_path / "s"))
            until(lambda: times == len(read(card).get("earlier", [])))  # noqa: B023
            time.sleep(1)  # it trains again, and hears of it
            os.kill(read(card)["pid"], signal.SIGUSR2)
        told = command.communicate()[0]
    assert command.returncode == 1, told
    assert "interrupted: 0: Job not requeued because: timed-out too many times." in told


@pytest.mark.parametrize("launcher", ["basic", JOBLIB])
def test_ctrl_c_ends_a_sweep_after_the_running_jobs(
    small: list[str], launcher: str, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    ended = {"basic": 1, "joblib": 2}[launcher]
    jobs = [*small, "logger=none", "trainer.max_epochs=40", "patience=9999", "seed=1,2,3"]
    with begin("train", "-m", *jobs, *launched(launcher), f"run_dir={folder}") as command:
        until(lambda: trains(folder, jobs=ended))
        os.killpg(command.pid, signal.SIGINT)
        told = command.communicate()[0]
    assert command.returncode == 130
    assert "finished, then the sweep ends. Ctrl-C again: at once." in told
    assert [each["status"] for each in cards(folder).values()] == ["completed"] * ended
    assert "Best val/ndcg@10 first" in told
    assert f"{3 - ended} of 3 jobs are still to be done." in told
    assert f"to go on: lightning-rec train -m {jobs[0]} " in told
    assert f"run_dir={folder}" in told.splitlines()[-1]
    assert not [*folder.glob(".stop*")]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", JOBLIB, *MORE])
def test_ctrl_c_twice_stops_jobs_at_once_with_a_checkpoint(
    small: list[str], launcher: str, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    jobs = [*small, "logger=none", "trainer.max_epochs=1000", "patience=9999", "seed=1,2"]
    with begin("train", "-m", *jobs, *launched(launcher), f"run_dir={folder}") as command:
        until(lambda: trains(folder))
        os.killpg(command.pid, signal.SIGINT)
        time.sleep(0.3)  # two at the same moment would be one
        os.killpg(command.pid, signal.SIGINT)
        told = command.communicate()[0]
    assert command.returncode == 130, told
    assert {each["status"] for each in cards(folder).values()} == {"interrupted"}
    assert "to go on: lightning-rec train -m " in told


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", MORE[1]])
def test_a_command_that_is_terminated_stops_its_jobs_with_a_checkpoint(
    small: list[str], launcher: str, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    jobs = [*small, "logger=none", "trainer.max_epochs=1000", "patience=9999", "seed=1,2"]
    with begin("train", "-m", *jobs, *launched(launcher), f"run_dir={folder}") as command:
        until(lambda: trains(folder))
        command.terminate()
        told = command.communicate()[0]
    assert command.returncode == 130, told
    assert {each["status"] for each in cards(folder).values()} == {"interrupted"}
    assert "Best val/ndcg@10 first" in told
    assert "to go on: lightning-rec train -m " in told


@pytest.mark.parametrize("launcher", ["joblib", *MORE])
def test_no_job_outlives_a_command_that_was_killed(
    small: list[str], launcher: str, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    jobs = [*small, "logger=none", "trainer.max_epochs=1000", "patience=9999", "seed=1,2"]
    with begin("train", "-m", *jobs, *launched(launcher), f"run_dir={folder}") as command:
        until(lambda: trains(folder))
        command.kill()
        command.wait()
        running = [each["pid"] for each in cards(folder).values()]
        assert running
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running), 10)
