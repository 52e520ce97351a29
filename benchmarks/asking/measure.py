"""Users a second and peak memory of ``recommend --input``, beside one killed half-way.

python benchmarks/asking/measure.py RUN FOLDER [USERS] writes ``throughput.json`` beside this file.
The histories are the latest 20 events of the run's users, repeated until there are USERS.
"""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl

from lightning_rec import __version__
from lightning_rec.files import sha256_file, write_json

LATEST, EACH = 20, 10


def peak_of(process: "subprocess.Popen[bytes]") -> float:
    """Peak resident memory of a running process, MiB; 0 when it has ended."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) / 1024


def measured(words: list[str], kill_after: float | None = None) -> dict[str, float]:
    """Run the command: seconds, peak memory, exit status."""
    begun, peak = time.perf_counter(), 0.0
    command = [sys.executable, "-m", "lightning_rec", "recommend", *words]
    process = subprocess.Popen(command)
    if kill_after is not None:
        threading.Timer(kill_after, process.kill).start()
    while process.poll() is None:
        peak = max(peak, peak_of(process))
        time.sleep(0.5)
    seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 1), "peak_mib": round(peak, 1), "status": process.returncode}


def write_users(run: Path, path: Path, number: int) -> None:
    """Histories of raw ids."""
    items = pl.read_parquet(run / "items.parquet").sort("code")["item"]
    users = pl.read_parquet(run / "users.parquet").filter(pl.col("items").list.len() > 0)
    flat = users.select(pl.col("items").list.tail(LATEST)).with_row_index("row").explode("items")
    named = flat.with_columns(history=items.gather(flat["items"]))
    lists = named.group_by("row", maintain_order=True).agg("history")["history"]
    some = lists.gather([place % len(lists) for place in range(number)])
    user = pl.Series("user", [f"n{place}" for place in range(number)])
    pl.DataFrame([user, some.alias("history")]).write_parquet(path)


def main() -> None:
    """Measure, and write the JSON."""
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for size in (number // 10, number):
        source, output = folder / f"users_{size}.parquet", folder / f"recs_{size}.parquet"
        write_users(run, source, size)
        words = [f"model={run}", f"k={EACH}", "overwrite=true", "restart=true"]
        files = ["--input", str(source), "--output", str(output)]
        own = measured([*words, *files])
        found[str(size)] = own | {"users_a_second": round(size / own["seconds"], 1)}
        if size < number:
            whole = sha256_file(output)
            cut = measured([*words, *files], kill_after=own["seconds"] / 2)
            rest = measured([*words[:-1], *files])
            found["killed"] = {
                "users": size,
                "status": cut["status"],
                "seconds_to_go_on": rest["seconds"],
                "equal": sha256_file(output) == whole,
            }
    about = {
        "run": "sasrec_bce_ml1m, 3 epochs, dim 64, 3,416 items",
        "histories": f"{LATEST} events",
        "k": EACH,
        "version": __version__,
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, shared with other work",
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    write_json(Path(__file__).with_name("throughput.json"), about | {"measured": found})
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
