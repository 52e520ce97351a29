"""Runs a phase of a module in a process of its own and looks at its memory meanwhile."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.harness.runs import ROOT


def watched(module: str, arguments: list[str], cache: Path) -> dict[str, Any]:
    """What a module prints last, as JSON, and the most memory it had, MiB.

    What no file lies behind (``RssAnon``) must fit into memory; pages of files that are mapped are
    dropped by the system at need.
    """
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {"LIGHTNING_REC_CACHE": str(cache)}
    most = {"RssAnon": 0, "RssFile": 0, "VmHWM": 0}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            lines = status.read_text().splitlines() if status.exists() else []
            for name, _, value in (line.partition(":") for line in lines):
                if name in most:
                    most[name] = max(most[name], int(value.split()[0]))
            time.sleep(0.02)
        assert process.stdout is not None
        said = process.stdout.read().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    anonymous, mapped, peak = (round(value / 1024) for value in most.values())
    found: dict[str, Any] = json.loads(said[-1])
    return found | {
        "peak_anonymous_mib": anonymous,
        "peak_mapped_mib": mapped,
        "peak_resident_mib": peak,
    }
