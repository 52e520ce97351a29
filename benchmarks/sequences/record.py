"""What every peer script shares before its library is imported: clock, arguments, settings, JSON.

Only the standard library is imported here, so that the time a library takes to import can be told.
"""

import argparse
import json
import os
import platform
import resource
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
SETTINGS: dict[str, Any] = {
    "dim": 64,
    "depth": 2,
    "max_len": 200,
    "batch_size": 128,
    "eval_batch_size": 256,
    "lr": 1e-3,
    "optimizer": "Adam",
    "loss": "softmax over the catalogue",
}
OF_MODEL: dict[str, dict[str, Any]] = {
    "sasrec": {"heads": 1, "dropout": 0.1, "ffn": 64},
    "bert4rec": {"heads": 2, "dropout": 0.2, "ffn": 256, "mask_prob": 0.2},
}
PACKAGES = ("torch", "numpy", "pandas", "lightning", "pytorch-lightning")
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


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """The hyper-parameters that a library is asked for."""
    asked = {"max_len": args.max_len, "batch_size": args.batch_size}
    return SETTINGS | OF_MODEL[args.model] | asked


def parse_args(description: str | None) -> argparse.Namespace:
    """The command line of a peer script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="lines of 'user item', gzip")
    parser.add_argument("--model", choices=sorted(OF_MODEL), required=True)
    parser.add_argument("--measure", choices=["speed", "quality"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-len", type=int, default=SETTINGS["max_len"])
    parser.add_argument("--batch-size", type=int, default=SETTINGS["batch_size"])
    speed = parser.add_argument_group("speed")
    speed.add_argument("--steps", type=int, default=10, help="training steps of a window")
    speed.add_argument("--windows", type=int, default=5)
    speed.add_argument("--warmup", type=int, default=3, help="steps before the first window")
    speed.add_argument("--eval-users", type=int, default=2048)
    speed.add_argument("--no-anomaly", action="store_true", help="RecBole: anomaly mode off")
    parser.add_argument("--buckets", type=int, default=0, help="replay.nn: rows to a bucket")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--minutes", type=float, default=15, help="of training")
    quality.add_argument("--every", type=float, default=20, help="seconds between evaluations")
    quality.add_argument("--until", type=float, default=1, help="val/ndcg@10 that ends the curve")
    args = parser.parse_args()
    if min(args.steps, args.windows, args.warmup) < 1:
        parser.error("--steps, --windows and --warmup must be at least 1")
    args.data, args.out = args.data.resolve(), args.out.resolve()
    return args


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def machine() -> dict[str, Any]:
    """The machine and the environment variables that matter for speed."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "load_before": round(os.getloadavg()[0], 2),
        "malloc": {name: os.environ[name] for name in MALLOC if name in os.environ},
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def versions(library: str) -> dict[str, str]:
    """The versions of the library and of what it runs on."""
    found = {"python": platform.python_version()}
    for name in (library, *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """The time in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write(path: Path, result: dict[str, Any]) -> None:
    """Write JSON, under its final name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(path)
