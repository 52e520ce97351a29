"""How cost grows with items, length, batch and users: seconds and memory of SASRec, d64.

``growth.py [--out FILE.json] [--only items length …]``. Every point runs in a process of its own,
on a synthetic split that is written once and memory-mapped, so that its peak memory is its alone.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import seed_everything

from lightning_rec import assembly, config
from lightning_rec.data.pipeline import Audited
from lightning_rec.data.split import Examples, Split
from lightning_rec.files import write_json
from lightning_rec.runs import provenance

BASE = {"items": 10_000, "length": 100, "batch": 128, "users": 20_000, "loss": "full_softmax"}
STEPS, WARMUP, EVALUATED = 12, 3, 2_048
AXES: dict[str, list[dict[str, Any]]] = {
    "items": [
        {"items": items, "loss": loss, "length": 50}
        for items in (1_000, 10_000, 100_000, 1_000_000)
        for loss in ("full_softmax", "sampled_softmax", "sampled_softmax_sparse")
        if not (loss == "full_softmax" and items > 100_000)
    ],
    "length": [{"length": length} for length in (50, 100, 200, 400)],
    "batch": [{"batch": batch} for batch in (32, 64, 128, 256, 512)],
    "users": [{"users": users} for users in (1_000, 10_000, 100_000, 1_000_000, 10_000_000)],
    "million_items": [
        {"items": 1_000_000, "users": 200_000, "length": 20, "loss": "sampled_softmax_sparse"}
    ],
}
LOSSES = {
    "full_softmax": ["loss=full_softmax"],
    "sampled_softmax": ["loss=sampled_softmax", "loss.shared=batch"],
    "sampled_softmax_sparse": [
        "loss=sampled_softmax",
        "loss.shared=batch",
        "model.sparse=true",
        "optimizer=lazy_adamw",
    ],
}


def make_split(items: int, users: int, length: int) -> Split:
    """Users with ``length`` training events and two more, items with a long tail."""
    chance = np.random.default_rng(1)
    events = length + 2
    offsets = np.arange(users + 1, dtype=np.int64) * events
    flat = np.empty(users * events, dtype=np.int32)
    for start in range(0, len(flat), 10_000_000):  # a part at a time: the log may be large
        part = flat[start : start + 10_000_000]
        part[:] = (items * chance.random(len(part)) ** 2).astype(np.int32)
    last = offsets[1:] - 1

    def targets(at: np.ndarray) -> Examples:
        shown = np.linspace(0, users - 1, min(users, EVALUATED)).astype(np.int64)
        return Examples(shown, at[shown], flat[at[shown]].astype(np.int64), at[shown])

    counts = np.maximum(1, np.bincount(flat, minlength=items))
    return Split(
        offsets, flat, np.zeros(0, dtype=np.int64), offsets[:-1] + length, np.arange(items), counts,
        targets(last - 1), targets(last), None, {},
    )  # fmt: skip


def point(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train some steps and evaluate some users; what it cost."""
    torch.set_num_threads(settings["threads"])
    seed_everything(1, verbose=False)
    loaded = Audited(None, Split.load(folder), {})  # type: ignore[arg-type]
    cfg = config.compose(
        [
            "model=sasrec",
            f"batches.max_len={settings['length']}",
            f"batches.batch_size={settings['batch']}",
            "batches.stride=null",
            *LOSSES[settings["loss"]],
            "optimizer.lr=0.001",
            "logger=none",
            "callbacks=[]",
            "trainer.gradient_clip_val=null",
            "baseline=null",
        ]
    )
    parts = assembly.assemble(cfg)
    data = assembly.make_data(cfg, parts, loaded)
    task = assembly.make_task(cfg, parts, loaded, data)
    before = provenance.peak_memory_mib()
    seconds = train(task.train(), data.train_dataloader())
    trained = provenance.peak_memory_mib()
    trainer = assembly.make_trainer(cfg, folder, training=False)
    start = time.perf_counter()
    trainer.validate(task, data, verbose=False)
    evaluated = time.perf_counter() - start
    return {
        "step_seconds": round(statistics.median(seconds), 4),
        "steps": [round(value, 4) for value in seconds],
        "evaluation_users_per_second": round(loaded.split.val.size / evaluated, 1),
        "memory_before_mib": before,
        "memory_training_mib": trained,
        "peak_memory_mib": provenance.peak_memory_mib(),
    }


def train(task: Any, loader: Any) -> list[float]:
    """Seconds of each step after the first ones, fetching the batch included."""
    optimizer = task.make_optimizer(task.model.parameters())
    seconds: list[float] = []
    while True:
        start = time.perf_counter()
        for batch in loader:
            loss = task.loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
            if len(seconds) == WARMUP + STEPS:
                return seconds[WARMUP:]
            start = time.perf_counter()


def main() -> None:
    """Measure every point, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument("--only", nargs="+", choices=sorted(AXES), default=sorted(AXES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--point", help="one point, as JSON (used by the script itself)")
    parser.add_argument("--split", type=Path, help="its split")
    args = parser.parse_args()
    if args.point:
        print(json.dumps(point(json.loads(args.point), args.split)))
        return
    measured: dict[str, list[dict[str, Any]]] = {}
    for axis in args.only:
        for changed in AXES[axis]:
            settings = BASE | changed | {"threads": args.threads}
            measured.setdefault(axis, []).append(settings | in_own_process(settings))
            print(axis, measured[axis][-1], flush=True)
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    write_json(args.out, {"finished": provenance.now(), **card, "points": measured})


def in_own_process(settings: dict[str, Any]) -> dict[str, Any]:
    """Measure a point in a fresh process, its split written beforehand."""
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "split"
        make_split(settings["items"], settings["users"], settings["length"]).save(split)
        command = [sys.executable, __file__, "--point", json.dumps(settings), "--split", split]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
