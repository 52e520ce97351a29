"""Runs commands one after another, each for one result file, and keeps what failed."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.harness.record import now, write

ROOT = Path(__file__).parents[2]  # where the modules are found
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


def run(command: list[str], threads: int, timeout: float) -> str | None:
    """Run one command; the reason if it failed."""
    environ = os.environ | MALLOC | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=timeout, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return f"not done after {timeout:g} s"
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    return f"exit status {done.returncode}: {last[0]}"


def run_all(
    runs: Iterable[tuple[Path, list[str]]],
    log: Path,
    summary: Callable[[dict[str, Any]], str],
    threads: int,
    timeout: float,
    pause: float = 10,
) -> None:
    """Run what has no result yet, and write the failures into ``log``.

    Args:
        runs: result file and command of each.
        log: where the failures of this call go.
        summary: one line about a result.
        threads: of each run.
        timeout: seconds of one run.
        pause: seconds of rest before each, so that what the last one left does not fall on it.
    """
    failures: list[dict[str, Any]] = []
    write(log, {"failures": failures})
    for out, command in runs:
        if out.exists():
            print(f"{out.name}: there already", flush=True)
            continue
        time.sleep(pause)
        began = time.perf_counter()
        reason = run(command, threads, timeout)
        seconds = round(time.perf_counter() - began, 1)
        if reason:
            failures.append({"run": out.stem, "reason": reason, "seconds": seconds, "at": now()})
            write(log, {"failures": failures})
        done = f"failed: {reason}" if reason else summary(json.loads(out.read_text()))
        print(f"{out.name}: {seconds} s, {done}", flush=True)
