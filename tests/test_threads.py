"""Threads and waiting are chosen before torch is imported, unless the user chose."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_rec import threads

SHOW = """
import json, {first}
import lightning_rec
from lightning_rec.runs.provenance import machine
print(json.dumps(machine()))
"""
NAMES = (
    *threads.THREADS, *threads.WAITING, threads._CHOSEN, threads._JOBS, threads._GRANTED,
)  # fmt: skip


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An environment that says nothing of threads; what is set in it goes when the test ends."""
    for name in (*NAMES, "SLURM_CPUS_PER_TASK"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_usable", lambda: 8)
        patch.setitem(sys.modules, "torch", None)
        patch.delitem(sys.modules, "torch")
        yield monkeypatch


def machine(first: str = "os", **environment: str) -> dict[str, object]:
    """The machine as a new process describes it."""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(first=first)],
        env=clean | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_new_process_has_the_chosen_and_says_so() -> None:
    found = machine()
    assert found["threads"] == threads.cores()
    assert found["threads_chosen_by"] == "lightning_rec"
    assert found["waiting"] == "by load"
    assert found["instruction_set"]


def test_what_the_user_set_is_left_alone() -> None:
    found = machine(MKL_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE")
    assert found["threads"] == 1
    assert found["threads_chosen_by"] == "MKL_NUM_THREADS"
    assert found["waiting"] == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_nothing_is_set_once_torch_is_imported() -> None:
    assert machine(first="torch")["threads_chosen_by"] == "torch"


@pytest.mark.skipif(threads.cores() < 2, reason="one thread waits for nobody")
def test_threads_sleep_beside_busy_processes_and_no_longer() -> None:
    script = """
import subprocess, sys, threading, time
from lightning_rec import threads
threads.watch()
threads.watch()
assert len(threading.enumerate()) == 2
import torch
x = torch.rand(256, 256)
def asleep(): return len(threading.enumerate()) > 2
def until(found, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end and asleep() != found:
        x @ x
    return asleep() == found
spin = [sys.executable, "-c", "while True: pass"]
others = [subprocess.Popen(spin) for _ in range(2 * threads.cores())]
try:
    assert until(True, 30)
finally:
    for other in others: other.kill(); other.wait()
threads._BUSY = threads._QUIET = float("inf")  # whatever else runs here
assert until(False, 30)
"""
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    subprocess.run([sys.executable, "-c", script], env=clean, check=True)


def test_jobs_and_processes_divide_the_cores(unset: pytest.MonkeyPatch) -> None:
    threads.choose()
    assert os.environ["OMP_NUM_THREADS"] == "8"
    threads.share(jobs=2)
    assert os.environ["OMP_NUM_THREADS"] == "4"
    threads.share(processes=2)
    assert os.environ["OMP_NUM_THREADS"] == "2"
    threads.choose()  # as a further process does: the jobs are known, the processes not yet
    assert os.environ["OMP_NUM_THREADS"] == "4"
    threads.share(jobs=-1, processes=2)
    assert os.environ["OMP_NUM_THREADS"] == "1"
    threads.share(jobs=1, granted=6)  # by a launcher: submitit's cpus_per_task, Ray's num_cpus
    assert os.environ["OMP_NUM_THREADS"] == "6"
    threads.share(processes=2)
    assert os.environ["OMP_NUM_THREADS"] == "3"
    threads.share(jobs=1, granted=99)
    assert os.environ["OMP_NUM_THREADS"] == "8"
    threads.share(jobs=2)
    assert os.environ["OMP_NUM_THREADS"] == "4"


def test_a_number_that_the_user_sets_beside_ours_is_the_users(unset: pytest.MonkeyPatch) -> None:
    threads.choose()
    unset.setenv("OMP_NUM_THREADS", "3")
    threads.share(jobs=2, processes=2)
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_quota_of_the_control_group_or_of_one_above_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "/proc/self/cgroup": "4:cpu,cpuacct:/a\n0::/outer/inner",
        "/sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
        "/sys/fs/cgroup/outer/cpu.max": "150000 100000",
    }
    monkeypatch.setattr(threads, "_read", lambda path: files.get(str(path), ""))
    assert threads._quota() == 1.5
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert threads.cores() == 2
    files["/sys/fs/cgroup/outer/memory.max"] = "4096"
    assert threads.memory_limits() == [4096]
    files["/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us"] = "50000"
    files["/sys/fs/cgroup/cpu/a/cpu.cfs_period_us"] = "100000"
    assert threads._quota() == 0.5
    assert threads.cores() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert threads.cores() == 6
