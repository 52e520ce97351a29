"""Prepare, split and audit a synthetic log of ten million events: seconds and peak memory.

``prepare.py [--events N] [--out FILE.json]``. Each step runs in a process of its own, so that the
peak resident memory is that step's alone.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from lightning_rec.data.audit import audit
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.data.splits import LeaveOneOut
from lightning_rec.files import write_json
from lightning_rec.runs import provenance


def write_log(path: Path, events: int) -> None:
    """Write a CSV with string ids: 20 events a user on average, items with a long tail."""
    chance = np.random.default_rng(1)
    users, items = events // 20, max(1, events // 100)
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    item = chance.choice(items, events, p=popularity / popularity.sum())
    user = chance.integers(0, users, events)
    time_column = np.sort(chance.integers(1_500_000_000, 1_700_000_000, events))
    frame = pl.DataFrame({"uid": user, "sku": item, "ts": time_column})
    named = [pl.format("user-{}", "uid").alias("uid"), pl.format("item-{}", "sku").alias("sku")]
    frame.with_columns(named).write_csv(path)


def run_step(step: str, folder: Path) -> None:
    """Run one step and print its seconds and peak memory as JSON."""
    start = time.perf_counter()
    if step == "prepare":
        source = TableSource(str(folder / "log.csv"), user="uid", item="sku", time="ts")
        prepare(source, folder)
    else:
        (prepared,) = (folder / "prepared").glob("log-*/info.json")
        data = Interactions(prepared.parent)
        if step == "split":
            LeaveOneOut().split(data).save(folder / "split")
        else:
            audit(data, Split.load(folder / "split"))
    seconds = round(time.perf_counter() - start, 1)
    print(json.dumps({"seconds": seconds, "peak_memory_mib": provenance.peak_memory_mib()}))


def main() -> None:
    """Write the log, run every step, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "prepare.json")
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"))
    args = parser.parse_args()
    if args.step:
        return run_step(args.step[0], Path(args.step[1]))
    result = {"events": args.events, "started": provenance.now(), **provenance.card()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_log(folder / "log.csv", args.events)
        result["csv_mib"] = round((folder / "log.csv").stat().st_size / 2**20)
        for step in ("prepare", "split", "audit"):
            command = [sys.executable, __file__, "--step", step, name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            result[step] = json.loads(done.stdout.splitlines()[-1])
            print(step, result[step])
    for private in ("cwd", "pid"):
        result.pop(private)
    write_json(args.out, result)


if __name__ == "__main__":
    main()
