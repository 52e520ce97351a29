"""Peak memory of ``popular --input`` over logs of one million and of eight million events.

python benchmarks/asking/memory.py FOLDER writes ``memory.json`` beside this file. The logs are made
up: 10,000 items by Zipf's law, 50,000 users, 60 days; with users each of whom is counted once for
an item, and without.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from lightning_rec import __version__
from lightning_rec.files import write_json

ITEMS, USERS, STEP = 10_000, 50_000, 1_000_000


def write_log(path: Path, number: int, *, users: bool) -> None:
    """Events in the order of time, as CSV."""
    share = 1 / np.arange(1, ITEMS + 1)
    with path.open("wb") as stream:
        for start in range(0, number, STEP):
            chance = np.random.default_rng(start)
            size = min(STEP, number - start)
            item = chance.choice(ITEMS, size, p=share / share.sum())
            made = {
                "item": item,
                "time": 1_700_000_000 + (start + np.arange(size)) * 5_184_000 // number,
            }
            if users:
                made["user"] = chance.integers(0, USERS, size)
            pl.DataFrame(made).write_csv(stream, include_header=start == 0)


def memory_of(process: "subprocess.Popen[bytes]") -> float:
    """Memory of its own that a running process holds, MiB: without pages of files, which the log
    has and which are given back when others need them.
    """
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon")), "RssAnon: 0")
    return int(line.split()[1]) / 1024


def measured(words: list[str]) -> dict[str, float]:
    """Run the command: seconds and peak memory."""
    begun, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "lightning_rec", "popular", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, memory_of(process))
        time.sleep(0.05)
    assert process.returncode == 0
    return {"seconds": round(time.perf_counter() - begun, 1), "peak_mib": round(peak, 1)}


def main() -> None:
    """Measure, and write the JSON."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for users in (False, True):
        for number in (1_000_000, 8_000_000):
            path = folder / "log.csv"
            write_log(path, number, users=users)
            own = measured(["--input", str(path), "half_life=7d", "k=5"])
            own |= {"log_mib": round(path.stat().st_size / 2**20, 1)}
            found[f"{number} events{', users' * users}"] = own
            path.unlink()
    about = {
        "version": __version__,
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, shared with other work",
    }
    write_json(Path(__file__).with_name("memory.json"), about | {"popular": found})
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
