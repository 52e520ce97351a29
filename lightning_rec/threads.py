"""How many threads compute, chosen before torch is imported, and how they wait for one another.

Where a thread of GNU's OpenMP library waits for another it spins for milliseconds. That is fastest
on idle cores; beside other processes it holds the very core that the awaited thread needs. The
library spins hardly at all while the process has more
threads than there are cores, whether they work or sleep: :func:`watch` keeps some asleep as long
as threads of this process have to wait for a core. Variables that the user set are left alone.
"""

import atexit
import math
import os
import sys
import threading
import time
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# Further processes inherit these: the number we set, which is ours as long as it is as we set it,
# how many jobs run at once, and how many cores a launcher granted each.
_CHOSEN, _JOBS = "LIGHTNING_REC_THREADS", "LIGHTNING_REC_JOBS"
_GRANTED = "LIGHTNING_REC_CORES"
_EVERY = 0.5  # seconds between two looks
_BUSY, _QUIET = 0.1, 0.05  # seconds of waiting for a core in a second: when to begin, when to end


def choose() -> None:
    """Set the number of threads if the user did not, unless torch is imported already."""
    if "torch" in sys.modules:
        return
    if not set(THREADS) & set(os.environ):
        _set(cores())
    share()


def share(jobs: int | None = None, processes: int = 1, granted: int | None = None) -> None:
    """Divide the cores, unless the user has said how many threads there are.

    ``jobs``: of a sweep that run at the same time, -1 for one on each core; None leaves it as is.
    ``processes``: of this run on this machine. ``granted``: cores of the one job, by its launcher.
    """
    if jobs is not None:
        os.environ.pop(_GRANTED, None)
        os.environ |= {_GRANTED: str(granted)} if granted is not None else {}
        os.environ[_JOBS] = str(cores() if jobs < 0 else jobs)
    total = cores()
    if not _chosen():
        return
    each = max(1, total // (int(os.environ.get(_JOBS, 1)) * processes))
    _set(each)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(each)


def cores() -> int:
    """Physical cores that this process may use: its affinity and the quota of its control group.

    Fewer, if a launcher granted fewer.
    """
    return min(_usable(), int(os.environ.get(_GRANTED, sys.maxsize)))


def _usable() -> int:
    if "SLURM_CPUS_PER_TASK" in os.environ:
        return int(os.environ["SLURM_CPUS_PER_TASK"])
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    siblings = {
        _read(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list") or str(number)
        for number in os.sched_getaffinity(0)
    }
    return max(1, math.ceil(min(len(siblings), _quota())))


def described() -> dict[str, object]:
    """Threads and their waiting, and who chose them, for the record."""
    import torch

    said = [name for name in THREADS if name in os.environ]
    waiting = {name: os.environ[name] for name in WAITING if name in os.environ}
    return {
        "threads": torch.get_num_threads(),
        "threads_chosen_by": "lightning_rec" if _chosen() else ", ".join(said) or "torch",
        "waiting": waiting or ("by load" if _by_load() else "as torch does"),
    }


def watch() -> None:
    """From now on let threads sleep instead of spin while this process has to wait for cores.

    Once per process; nothing where the user said how threads wait, or where Linux does not tell.
    """
    if _by_load() and not any(isinstance(each, _Watcher) for each in threading.enumerate()):
        _Watcher().start()


def _by_load() -> bool:
    return not set(WAITING) & set(os.environ) and Path("/proc/self/schedstat").exists()


class _Watcher(threading.Thread):
    """Looks at how long threads waited for a core, and keeps others asleep meanwhile."""

    def __init__(self) -> None:
        super().__init__(name="lightning_rec.threads", daemon=True)
        self.ended = threading.Event()
        atexit.register(self.end)  # a thread that is still in torch then would abort the process

    def run(self) -> None:
        """Look twice a second, until the process ends."""
        asleep: list[_Sleeper] = []
        before, since = _waited(), time.monotonic()
        while not self.ended.wait(_EVERY):
            waited, now = _waited(), time.monotonic()
            rate, before, since = (waited - before) / (now - since), waited, now
            if not asleep and rate > _BUSY:
                asleep = _sleepers()
            elif asleep and rate < _QUIET:
                asleep = _woken(asleep)
        _woken(asleep)

    def end(self) -> None:
        """End it and the sleepers."""
        self.ended.set()
        self.join()


class _Sleeper(threading.Thread):
    """A team of OpenMP's threads that sleeps."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.release = threading.Event()
        self.start()

    def run(self) -> None:
        """Compute something by several threads, which stay until this one ends."""
        import torch

        torch.ones(2**18).exp()
        self.release.wait()


def _sleepers() -> list[_Sleeper]:
    """Teams by which OpenMP has more threads than cores; none where a team is one thread."""
    import torch

    team, usable = torch.get_num_threads(), len(os.sched_getaffinity(0))
    needed = math.ceil((usable - team + 1) / (team - 1)) if team > 1 else 0
    return [_Sleeper() for _ in range(needed)]


def _woken(asleep: list[_Sleeper]) -> list[_Sleeper]:
    for each in asleep:
        each.release.set()
    for each in asleep:
        each.join()
    return []


def _waited() -> float:
    """Seconds that the threads of this process have been ready to run and had no core."""
    stats = (_read(path / "schedstat").split() for path in Path("/proc/self/task").iterdir())
    return sum(int(fields[1]) for fields in stats if fields) / 1e9


def _set(number: int) -> None:
    os.environ[THREADS[0]] = os.environ[_CHOSEN] = str(number)


def _chosen() -> bool:
    """Whether the number of threads is ours."""
    return _CHOSEN in os.environ and os.environ.get(THREADS[0]) == os.environ[_CHOSEN]


def memory_limits() -> list[int]:
    """Bytes that control groups grant this process, on the way to the root."""
    found = _granted("memory", ["memory.max"], ["memory.limit_in_bytes"])
    return [int(limit) for (limit,) in found]


def _quota() -> float:
    """Cores' worth of time that control groups grant: the least on the way to the root."""
    found = _granted("cpu", ["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"])
    pairs = (limit for limit in found if len(limit) == 2)
    return min((int(limit) / int(of) for limit, of in pairs), default=math.inf)


def _granted(controller: str, second: list[str], first: list[str]) -> list[list[str]]:
    """Limits that control groups set on the way to the root, by files of either version."""
    found = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            root, names = Path("/sys/fs/cgroup"), second
        elif controller in controllers.split(","):
            root, names = Path("/sys/fs/cgroup", controller), first
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            limit = " ".join(_read(folder / name) for name in names).split()
            if limit and limit[0] not in ("max", "-1"):
                found.append(limit)
            if folder == root:
                break
    return found


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:  # a thread that has ended, a kernel that does not tell
        return ""
