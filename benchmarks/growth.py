"""How cost grows with items, length, batch and users: seconds and memory of SASRec, d64.

``growth.py [--out FILE.json] [--only items length …] [--replay PYTHON]``. Every point runs in a
process of its own, on a synthetic split that is written once and memory-mapped, so that its peak
memory is its alone. With the Python of an environment that has RePlay, it is measured at the same
points, by ``sequences/replay_peer.py`` on the same events as text. ``growth_plot.py`` draws it.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import polars as pl
import torch
from pytorch_lightning import seed_everything

from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.build.trainer import make_trainer
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.core.module import DataModule
from lightning_rec.data.pipeline import SplitLog
from lightning_rec.data.split import Examples, Split
from lightning_rec.files import write_json
from lightning_rec.runs import provenance

ROOT = Path(__file__).parents[1]
BASE = {"items": 10_000, "length": 100, "batch": 128, "users": 20_000, "loss": "full_softmax"}
STEPS, WARMUP, EVALUATED = 12, 3, 2_048
MOST_EVENTS = 12_000_000
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
    "ten_million_users": [{"users": users, "length": 20} for users in (100_000, 10_000_000)],
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
        target, unseen = flat[at[shown]].astype(np.int64), np.zeros(len(shown), dtype=bool)
        return Examples(shown, at[shown], target, at[shown], unseen)

    counts = np.maximum(1, np.bincount(flat, minlength=items))
    return Split(
        offsets, flat, np.zeros(0, dtype=np.int64), offsets[:-1] + length, np.arange(items), counts,
        targets(last - 1), targets(last), None, {},
    )  # fmt: skip


def point(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train some steps and evaluate some users; what it cost."""
    torch.set_num_threads(settings["threads"])
    seed_everything(1, verbose=False)
    loaded = Audited("drawn", "", SplitLog(None, Split.load(folder)), {}, {}, True)  # type: ignore[arg-type]
    cfg = config.compose(
        [
            "model=sasrec",
            f"batches.max_len={settings['length']}",
            f"batches.batch_size={settings['batch']}",
            "batches.stride=null",
            "model.dropout=0.1",
            "model.attention_dropout=0.1",
            *LOSSES[settings["loss"]],
            "optimizer.lr=0.001",
            "logger=none",
            "callbacks=[]",
            "trainer.gradient_clip_val=null",
            "baseline=null",
        ]
    )
    parts = problem_of(cfg)
    data = parts.make_data(loaded)
    task = parts.make_task(loaded, data)
    before = provenance.peak_memory_mib()
    seconds = train(task.train(), data.loader("train"))
    trained, anonymous = provenance.peak_memory_mib(), anonymous_mib()
    trainer = make_trainer(cfg, folder, training=False)
    start = time.perf_counter()
    trainer.validate(task, DataModule(data), verbose=False)
    evaluated = time.perf_counter() - start
    return {
        "step_seconds": round(statistics.median(seconds), 4),
        "steps": [round(value, 4) for value in seconds],
        "evaluation_users_per_second": round(loaded.data.split.val.size / evaluated, 1),
        "memory_before_mib": before,
        "memory_training_mib": trained,
        "anonymous_memory_mib": anonymous,
        "peak_memory_mib": provenance.peak_memory_mib(),
    }


def anonymous_mib() -> float:
    """Memory of this process now that no file lies behind: what cannot just be dropped (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024)


def train(task: Any, loader: Any) -> list[float]:
    """Seconds of each step after the first ones, fetching the batch included."""
    task.setup("fit")
    optimizer = task.make_optimizer(task.model.parameters())
    seconds: list[float] = []
    while True:
        start = time.perf_counter()
        for batch in loader:
            loss = task.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - start)
            if len(seconds) == WARMUP + STEPS:
                task.teardown("fit")
                return seconds[WARMUP:]
            start = time.perf_counter()


def main() -> None:
    """Measure every point, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("growth.json"))
    parser.add_argument("--only", nargs="+", choices=sorted(AXES), default=sorted(AXES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--replay", type=Path, help="Python of an environment that has RePlay")
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
            found = settings | in_own_process(settings, args.replay)
            measured.setdefault(axis, []).append(found)
            print(axis, found, flush=True)
    card = {key: provenance.card()[key] for key in ("version", "commit", "dirty", "machine")}
    write_json(args.out, {"finished": provenance.now(), **card, "points": measured})


def in_own_process(settings: dict[str, Any], replay: Path | None) -> dict[str, Any]:
    """Measure a point in fresh processes, its split written beforehand."""
    with tempfile.TemporaryDirectory() as folder:
        split = make_split(settings["items"], settings["users"], settings["length"])
        split.save(Path(folder) / "split")
        command = [sys.executable, __file__, "--point", json.dumps(settings)]
        found = answer([*command, "--split", f"{folder}/split"], json.loads)
        if replay and not found.get("failed"):
            found["replay"] = beside(settings, split, replay, Path(folder))
    return found


def beside(settings: dict[str, Any], split: Split, python: Path, folder: Path) -> dict[str, Any]:
    """The same point by RePlay; why not, where it cannot."""
    if settings["loss"] != "full_softmax":
        return {"failed": "measured with the full softmax alone"}
    if len(split.items) > MOST_EVENTS:
        return {"failed": f"its input is text here: more than {MOST_EVENTS:,} events take too long"}
    users = np.repeat(np.arange(len(split.offsets) - 1), np.diff(split.offsets))
    table = pl.DataFrame({"user": users + 1, "item": np.asarray(split.items) + 1})
    with gzip.open(folder / "log.gz", "wb", compresslevel=1) as text:
        table.write_csv(cast(IO[bytes], text), separator=" ", include_header=False)
    asked = {
        "data": folder / "log.gz", "out": folder / "replay.json", "model": "sasrec",
        "measure": "speed", "max-len": settings["length"], "batch-size": settings["batch"],
        "threads": settings["threads"], "warmup": WARMUP, "steps": 4, "windows": STEPS // 4,
        "eval-users": EVALUATED,
    }  # fmt: skip
    command = [str(python.absolute()), "-m", "benchmarks.sequences.replay_peer"]
    command += [f"--{key}={value}" for key, value in asked.items()]
    found = answer(command, lambda _: json.loads((folder / "replay.json").read_text()))
    if "failed" in found:
        return found
    return {
        "step_seconds": statistics.median(window["seconds"] / 4 for window in found["windows"]),
        "evaluation_users_per_second": found["evaluation"]["users_per_second"],
        "peak_memory_mib": found["peak_rss_mib"],
    }


def answer(command: list[str], read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What a process says in its last line, read; why it failed, if it did."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]}
    return read((done.stdout.strip().splitlines() or [""])[-1])


if __name__ == "__main__":
    main()
