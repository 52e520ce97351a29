"""The provenance card: what code, config, data and machine made a result."""

import contextlib
import ctypes
import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from lightning_rec import __version__, threads
from lightning_rec.files import sha256_json

_NAMED = ("torch", "pytorch-lightning", "torchmetrics", "hydra-core", "numpy", "polars", "wandb")


def card() -> dict[str, Any]:
    """Facts about code and machine that hold for a whole run."""
    packages = _packages(*sys.path)
    return {
        "version": __version__,
        **_commit(),
        "environment_hash": sha256_json(
            {"python": platform.python_version(), "packages": packages}
        ),
        "python": platform.python_version(),
        "packages": {name: packages[name] for name in _NAMED if name in packages},
        "machine": machine(),
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
    }


def about() -> dict[str, Any]:
    """Of what a verb has measured: version, commit and whether code was changed since, time."""
    return {"version": __version__, **_commit(), "machine": machine(), "finished": now()}


@lru_cache(maxsize=1)
def _packages(*path: str) -> dict[str, str]:
    """The version of each installed package. Read once: a sweep has many jobs in one process."""
    named = ((dist.metadata["Name"], dist.version) for dist in distributions(path=[*path]))
    found = {name: version for name, version in named if name}
    return {name.lower().replace("_", "-"): found[name] for name in sorted(found)}


def now() -> str:
    """The time, UTC, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Processor and its instruction set, cores, threads, memory and accelerator."""
    import torch

    facts: dict[str, Any] = {
        "system": platform.platform(),
        "processor": _processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        **threads.described(),
    }
    if installed := _installed_memory():
        facts["memory_gib"] = round(installed / 2**30, 1)
    if torch.cuda.is_available():
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would start from the peak of the process that started this one
        peak = status.read_text(encoding="utf-8").partition("VmHWM:")[2]
        return round(int(peak.split()[0]) / 2**10, 1)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(largest / (2**20 if sys.platform == "darwin" else 2**10), 1)


def vram() -> dict[str, float]:
    """Largest memory that torch took of its GPU so far, and all that this has, MiB; {} if none."""
    import torch

    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return {}
    whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    peak = torch.cuda.max_memory_reserved()
    return {"peak_vram_mib": round(peak / 2**20, 1), "vram_mib": round(whole / 2**20, 1)}


def memory_mib() -> float | None:
    """Memory that this process may use, MiB: the machine's, or what its control group grants."""
    limits = [_installed_memory(), *threads.memory_limits()]
    return min((each / 2**20 for each in limits if each), default=None)


def _installed_memory() -> int | None:
    if not (hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def forget_peak_memory() -> None:
    """Let :func:`peak_memory_mib` begin again: jobs of a sweep share one process."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError, AttributeError):  # on Linux with GNU's C library alone
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier jobs have freed, but not returned
        Path("/proc/self/clear_refs").write_text("5")


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> dict[str, Any]:
    """Commit of the clone this package runs from, and whether its code or configs differ from it.

    None for an installed wheel.
    """
    home = Path(__file__).resolve().parents[2]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if (home / ".git").exists():
            commit = _git(home, "rev-parse", "HEAD")
            parts = (each for each in ("lightning_rec", "conf") if (home / each).is_dir())
            return {"commit": commit, "dirty": bool(_git(home, "status", "--porcelain", *parts))}
    return {"commit": None, "dirty": None}


def _git(home: Path, *arguments: str) -> str:
    command = ["git", "-C", str(home), *arguments]
    return subprocess.check_output(command, text=True, stderr=subprocess.PIPE, timeout=20).strip()
