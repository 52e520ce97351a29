"""What it buys to keep the states below the layers that are tuned: seconds of a training step.

``python -m benchmarks.texts_steps [--out FILE.json] [--threads 2]``. SASRec on Beauty by texts,
experiment=text_sasrec_beauty: frozen, LoRA in the top layer with kept states and with states that
are computed at each step, LoRA in all layers. Every variant has a process of its own.
``--memory`` is about what tuning the whole language model takes: one step each, with 1 GiB of what
layers make kept, with 1,000 texts a step, and with all kept.
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
from pytorch_lightning import seed_everything

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.fetch import cache_dir
from lightning_rec.files import write_json
from lightning_rec.runs import provenance

MODULE = "benchmarks.texts_steps"
TOP = ["adapter=lora", "adapter.top=1"]
VARIANTS = {
    "frozen": ["adapter=frozen"],
    "top_kept": TOP,
    "top_computed": [*TOP, "item.cache_gb=1e-6"],
    "all": ["adapter=lora"],
}
MEMORY = {
    "full_1_gib": ["adapter=full"],
    "full_1000_texts": ["adapter=full", "item.texts_a_step=1000"],
    "full_kept": ["adapter=full", "item.step_gb=1000"],
}
WARMUP, STEPS = 2, 10


def point(variant: str, threads: int) -> dict[str, Any]:
    """Seconds until the first step, of each step, and the most memory there was."""
    torch.set_num_threads(threads)
    seed_everything(1, verbose=False)
    start = time.perf_counter()
    overrides = (VARIANTS | MEMORY)[variant]
    warmup, steps = (0, 1) if variant in MEMORY else (WARMUP, STEPS)
    parts = problem_of(config.compose(["experiment=text_sasrec_beauty", *overrides]))
    loaded = parts.load(cache_dir())
    data = parts.make_data(loaded)
    task = parts.make_task(loaded, data).train()
    ready = time.perf_counter() - start
    optimizer, seconds = task.make_optimizer(task.model.parameters()), []
    start = time.perf_counter()
    for batch in data.loader("train"):
        loss = task.training_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        if len(seconds) == warmup + steps:
            break
        start = time.perf_counter()
    return {
        "ready_seconds": round(ready, 1),
        "step_seconds": round(statistics.median(seconds[warmup:]), 4),
        "steps": [round(value, 4) for value in seconds[warmup:]],
        "peak_memory_mib": provenance.peak_memory_mib(),
    }


def main() -> None:
    """Measure every variant twice: the states are made by the first of them that asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("texts_steps.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--point", choices=VARIANTS | MEMORY, help="one (used by the script itself)"
    )
    parser.add_argument("--memory", action="store_true", help="one step of tuning all of it")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(args.point, args.threads)))
        return
    found: list[dict[str, Any]] = []
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    settings = {"experiment": "text_sasrec_beauty", "threads": args.threads}
    for repeat in (1,) if args.memory else (1, 2):
        for variant in MEMORY if args.memory else VARIANTS:
            command = [sys.executable, "-m", MODULE, "--point", variant]
            command += ["--threads", str(args.threads)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found.append({"variant": variant, "repeat": repeat} | json.loads(said.splitlines()[-1]))
            print(found[-1], flush=True)
            known = {"finished": provenance.now(), **card, **settings}
            write_json(args.out, known | {"points": found})


if __name__ == "__main__":
    main()
