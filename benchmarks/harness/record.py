"""What a measured process tells about itself: clock, memory, versions, machine; and its JSON.

Only the standard library is imported here, so that the time a library takes to import can be told.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
    "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip
MALLOC = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def since_start() -> float:
    """Seconds since this module was imported, which a script does first."""
    return time.perf_counter() - STARTED


def process_age() -> float:
    """Seconds since the kernel started this process, to 10 ms (Linux)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    born = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - born


def peak_rss_mib() -> int:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def machine() -> dict[str, Any]:
    """The machine, the instruction set that torch uses, and the variables that matter for speed."""
    torch = sys.modules["torch"]  # imported by then, and not by this module
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "load_before": round(os.getloadavg()[0], 2),
        "malloc": {name: os.environ[name] for name in MALLOC if name in os.environ},
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def versions(library: str, packages: Sequence[str]) -> dict[str, str]:
    """The versions of the library and of what it runs on."""
    found = {"python": platform.python_version()}
    for name in (library, *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(path: Path, result: dict[str, Any]) -> None:
    """Write JSON, under its final name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(path)
