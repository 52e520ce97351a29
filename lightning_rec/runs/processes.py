"""Which processes run, and which one a job of a sweep belongs to."""

import os
import platform
from contextlib import suppress
from pathlib import Path


class Command:
    """The process of a sweep's command on this machine, which its jobs are not to outlive."""

    pid: int | None = None  # None: this process is no job of one


def alive(host: str, process: str) -> bool:
    """Whether a process runs; on another host it counts as running."""
    if host != platform.node() or not process.isdigit():
        return bool(host)
    with suppress(PermissionError):
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return False
    with suppress(OSError, IndexError):  # killed, and whoever started it has not looked yet
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return state.rpartition(")")[2].split()[0] != "Z"
    return True
