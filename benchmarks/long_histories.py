"""What a training step of clicks costs as histories get longer: DIN, BST and SDIM.

``python -m benchmarks.long_histories [--out FILE.json]``: CPU seconds of forward and backward of 32
rows with histories of the same length, over 100,000 items; most memory. A process for each point.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lightning_rec.data.clicks.schema import ClickSchema, Field, Rows
from lightning_rec.data.split import Histories
from lightning_rec.files import write_json
from lightning_rec.models.clicks.bst import BST
from lightning_rec.models.clicks.din import DIN
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.models.clicks.sdim import SDIM
from lightning_rec.runs import provenance

MODULE = "benchmarks.long_histories"
MODELS: dict[str, type[ClickModel]] = {"din": DIN, "bst": BST, "sdim": SDIM}
LENGTHS = (100, 1_000, 10_000)
QUADRATIC, MOST = ("bst",), 1_000  # attention among all items is not measured beyond
ROWS, ITEMS, WARMUP, STEPS = 32, 100_000, 1, 5


def point(name: str, length: int) -> dict[str, Any]:
    """CPU seconds of each step, their median, and the most memory there was."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    fields = Field("user", "categorical", 1, 1000, 1), Field("item", "categorical", 1001, ITEMS, 1)
    model = MODELS[name](ClickSchema(fields, "item", length)).train()
    ids = torch.stack([torch.randint(1, 1000, (ROWS,)), torch.randint(1001, ITEMS, (ROWS,))], dim=1)
    past = Histories(torch.randint(0, ITEMS - 1, (ROWS, length)), torch.zeros(ROWS).long())
    rows, seconds = Rows(ids.int(), torch.zeros(ROWS, 0), past), []
    for _ in range(WARMUP + STEPS):
        begin = time.process_time()
        model.zero_grad()
        model(rows).sum().backward()
        seconds.append(round(time.process_time() - begin, 4))
    median = statistics.median(seconds[WARMUP:])
    return {"cpu_seconds": median, "steps": seconds, "memory_mib": provenance.peak_memory_mib()}


def main() -> None:
    """Measure every model at every length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("long_histories.json"))
    parser.add_argument("--point", nargs=2, help="MODEL LENGTH (used by the script itself)")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(args.point[0], int(args.point[1]))))
        return
    found: list[dict[str, Any]] = []
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    for length in LENGTHS:
        for name in MODELS:
            if name in QUADRATIC and length > MOST:
                continue
            command = [sys.executable, "-m", MODULE, "--point", name, str(length)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found.append({"model": name, "length": length} | json.loads(said.splitlines()[-1]))
            print(found[-1], flush=True)
    write_json(args.out, {"finished": provenance.now(), **card, "rows": ROWS, "points": found})


if __name__ == "__main__":
    main()
