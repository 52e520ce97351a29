"""What a training step of DeepFM costs over the size of its embedding table, dense and sparse.

``clicks_tables.py [--out FILE.json] [--threads 2]``. Ten fields share the rows of the table; ids
are uniform, so that nearly each of a batch is another row. Every point has a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from pytorch_lightning import seed_everything

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.pipeline import SplitClicks
from lightning_rec.data.clicks.schema import ClickSchema, Field
from lightning_rec.data.core.audited import Audited
from lightning_rec.files import write_json
from lightning_rec.runs import provenance
from lightning_rec.tasks.clipping import clip_norm

FIELDS, BATCH, STEPS, WARMUP, CLIP = 10, 4096, 20, 5, 10.0
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
KINDS = {"dense": ["optimizer=adam"], "sparse": ["optimizer=lazy_adamw", "task.sparse=true"]}


def make_rows(table: int) -> Encoded:
    """Rows enough for all steps, whose ids are uniform over the table."""
    size = table // FIELDS
    fields = [Field(f"f{i}", "categorical", 1 + i * size, size, 1) for i in range(FIELDS)]
    rows, chance = BATCH * (STEPS + WARMUP), np.random.default_rng(1)
    starts = np.array([field.start for field in fields], dtype=np.int64)
    ids = (starts + chance.integers(0, size, (rows, FIELDS))).astype(np.int32)
    label = (chance.random(rows) < 0.3).astype(np.float32)
    every, nothing = np.arange(rows), pl.DataFrame()
    return Encoded(
        ClickSchema(tuple(fields)), ids, np.zeros((rows, 0), np.float32), label, None, None, every,
        every, every, nothing, nothing, None, {},
    )  # fmt: skip


def point(table: int, kind: str, threads: int) -> dict[str, Any]:
    """Seconds of each step, fetching the batch included, and the most memory there was."""
    torch.set_num_threads(threads)
    seed_everything(1, verbose=False)
    cfg = config.compose(
        ["model=deepfm", f"batches.batch_size={BATCH}", "data.fields.slices=[]", *KINDS[kind]]
    )
    parts = problem_of(cfg)
    loaded = Audited("drawn", "", SplitClicks(None, make_rows(table)), {}, {}, True)  # type: ignore[arg-type]
    data = parts.make_data(loaded)
    task = parts.make_task(loaded, data).train()
    task.setup("fit")
    optimizer, seconds = task.make_optimizer(task.model.parameters()), []
    start = time.perf_counter()
    for batch in data.loader("train"):
        loss = task.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        clip_norm(task.model.parameters(), CLIP)
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    steps = seconds[WARMUP:]
    return {
        "step_seconds": round(statistics.median(steps), 5),
        "steps": [round(value, 5) for value in steps],
        "peak_memory_mib": provenance.peak_memory_mib(),
    }


def main() -> None:
    """Measure every point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("clicks_tables.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--point", nargs=2, help="rows and kind (used by the script itself)")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(int(args.point[0]), args.point[1], args.threads)))
        return
    found = []
    for table in SIZES:
        for kind in KINDS:
            command = [sys.executable, __file__, "--point", str(table), kind]
            command += ["--threads", str(args.threads)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found.append({"rows": table, "kind": kind} | json.loads(said.splitlines()[-1]))
            print(found[-1], flush=True)
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    settings = {"fields": FIELDS, "batch": BATCH, "dim": 16, "threads": args.threads}
    write_json(args.out, {"finished": provenance.now(), **card, **settings, "points": found})


if __name__ == "__main__":
    main()
