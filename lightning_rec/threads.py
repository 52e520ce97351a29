"""How many threads compute and how they wait for one another, chosen before torch is imported.

OpenMP's threads spin where they wait, for milliseconds: beside other processes they then hold the
very cores that the awaited thread needs, and a model trains several times slower. Its libraries
read the environment when they are loaded, hence the package chooses here when it is imported.
Variables that the user set are left alone.
"""

import math
import os
import sys
from pathlib import Path
from typing import Any

THREADS = "OMP_NUM_THREADS"
WAITING = {
    "GOMP_SPINCOUNT": "10000",  # GNU's library; iterations, some 0.1 ms
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's; ms
}
# Further processes inherit these: what we set, which is ours as long as it is as we set it, and how
# many jobs run at once.
_OURS, _JOBS = "LIGHTNING_REC_CHOSE", "LIGHTNING_REC_JOBS"


def choose() -> None:
    """Set what the user did not, unless torch is imported already."""
    if "torch" in sys.modules:
        return
    if not {"OMP_WAIT_POLICY", *WAITING} & set(os.environ):
        _set(WAITING)
    if THREADS not in os.environ:
        _set({THREADS: str(cores())})
    share()


def share(jobs: int | None = None, processes: int = 1) -> None:
    """Divide the cores, unless the user has said how many threads there are.

    Args:
        jobs: of a sweep that run at the same time, -1 for one on each core; None leaves it as is.
        processes: of this run on this machine.
    """
    total = cores()
    if jobs is not None:
        os.environ[_JOBS] = str(total if jobs < 0 else jobs)
    if THREADS not in _ours():
        return
    each = max(1, total // (int(os.environ.get(_JOBS, 1)) * processes))
    _set({THREADS: str(each)})
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(each)


def cores() -> int:
    """Physical cores that this process may use: its affinity and the quota of its control group."""
    if "SLURM_CPUS_PER_TASK" in os.environ:
        return int(os.environ["SLURM_CPUS_PER_TASK"])
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    siblings = {
        _read(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list") or str(number)
        for number in os.sched_getaffinity(0)
    }
    return max(1, math.ceil(min(len(siblings), _quota())))


def described() -> dict[str, Any]:
    """Threads and waiting, and who chose them, for the record."""
    import torch

    waiting = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", *WAITING) if name in os.environ}
    return {
        "threads": torch.get_num_threads(),
        "threads_chosen_by": _chosen_by(THREADS),
        "waiting": waiting,
        "waiting_chosen_by": _chosen_by(*waiting),
    }


def _chosen_by(*names: str) -> str:
    if set(names) & _ours():
        return "lightning_rec"
    return "environment" if set(names) & set(os.environ) else "torch"


def _set(values: dict[str, str]) -> None:
    kept = {name: os.environ[name] for name in _ours()} | values
    os.environ |= kept
    os.environ[_OURS] = " ".join(f"{name}={value}" for name, value in kept.items())


def _ours() -> set[str]:
    pairs = (pair.split("=") for pair in os.environ.get(_OURS, "").split())
    return {name for name, value in pairs if os.environ.get(name) == value}


def _quota() -> float:
    """Cores' worth of time that control groups grant: the least on the way to the root."""
    quotas = [math.inf]
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            root, names = Path("/sys/fs/cgroup"), ("cpu.max",)
        elif "cpu" in controllers.split(","):
            root, names = Path("/sys/fs/cgroup/cpu"), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            limit = " ".join(_read(folder / name) for name in names).split()
            if len(limit) == 2 and limit[0] not in ("max", "-1"):
                quotas.append(int(limit[0]) / int(limit[1]))
            if folder == root:
                break
    return min(quotas)


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""
