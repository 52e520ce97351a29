"""Where a training step of ours goes, and what its matrix products alone would take.

``profile_ours.py --data ml-1m.txt.gz --model sasrec --out profile-sasrec.json``. The parts are
timed in place over ``STEPS`` steps; then the products of one step are done again with nothing
around them, by shape, as torch's profiler recorded them. So is evaluation: the encoder's forward,
and all that follows it.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import seed_everything
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.harness import record
from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.pipeline import load
from lightning_rec.losses.base import Predictions

STEPS, WARMUP, PASSES = 20, 5, 3
PRODUCTS = ("aten::bmm", "aten::mm", "aten::addmm", "aten::baddbmm")


Shapes = tuple[tuple[int, ...], ...]


class Parts:
    """Seconds by name, one value a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Time what happens within."""
        start = time.perf_counter()
        with record_function(name):
            yield
        self.seconds[name].append(time.perf_counter() - start)


def products(events: Any, parts: Iterable[str]) -> Counter[tuple[str, Shapes]]:
    """The matrix products of a profile: part and shapes, and how often."""
    found: Counter[tuple[str, Shapes]] = Counter()
    spans = [(event.name, event.time_range) for event in events if event.name in parts]
    for event in events:
        if event.name in PRODUCTS:
            at = event.time_range.start
            part = next(name for name, span in spans if span.start <= at <= span.end)
            shapes = [tuple(shape) for shape in event.input_shapes if len(shape) > 1]
            # What is added to comes first, what is written to comes last.
            found[part, tuple(shapes[-2:] if "add" in event.name else shapes[:2])] += 1
    return found


def alone(shapes: Shapes) -> tuple[float, float]:
    """Seconds of one product with nothing around it (median), and its floating-point operations."""
    first, second = (torch.randn(shape) for shape in shapes)
    operations = 2 * first.numel() * second.shape[-1]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        first @ second
        times.append(time.perf_counter() - start)
    return statistics.median(times), operations


def step(task: Any, batch: Any, optimizer: Any, parts: Parts) -> None:
    """One training step, part by part."""
    with parts.time("training inputs"):
        histories, at, targets, _ = task.objective.training_inputs(
            batch.histories, task.model.schema
        )
        row = at.nonzero()[:, 0]
    with parts.time("encode, forward"):
        queries = task.steps._encode(task, histories, at)
    with parts.time("loss and its gradients"):
        loss = task.loss(task.model, Predictions(queries, targets, row, histories.user))
    optimizer.zero_grad()
    with parts.time("encode, backward"):
        loss.backward()
    with parts.time("optimizer"):
        optimizer.step()


@torch.no_grad()
def evaluation(task: Any, loader: Iterable[Any]) -> dict[str, float]:
    """Seconds of the parts of one pass over validation."""
    parts, encode = Parts(), task.steps.encode

    def timed(task: Any, histories: Any) -> Any:
        with parts.time("encode"):
            return encode(task, histories)

    task.steps.encode = timed
    with parts.time("all"):
        for batch in loader:
            with parts.time("rank and measure"):  # encoding included: taken off below
                task.steps.evaluate(task, batch, "val")
        with parts.time("rank and measure"):
            task.steps.metrics["val"].compute()
    task.steps.metrics["val"].reset()
    del task.steps.encode
    seconds = {name: sum(of) for name, of in parts.seconds.items()}
    seconds["fetch the batches"] = seconds["all"] - seconds["rank and measure"]
    seconds["rank and measure"] -= seconds["encode"]
    return seconds


def main() -> None:
    """Profile and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=("sasrec", "bert4rec"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seed_everything(1, verbose=False)
    os.environ["LIGHTNING_REC_DATA"] = str(args.data.resolve().parent)
    cfg = config.compose([f"experiment={args.model}_ml1m"])
    built = cast(Any, problem_of(cfg))
    loaded = load(built.source, built.protocol, Path(tempfile.mkdtemp()))
    data = built.make_data(loaded)
    task = built.make_task(loaded, data).train()
    task.setup("fit")
    optimizer = task.make_optimizer(task.model.parameters())
    parts, batches = Parts(), iter(data.loader("train"))
    for number in range(WARMUP + STEPS):
        if number == WARMUP:
            parts.seconds.clear()
        with parts.time("fetch the batch"):
            batch = next(batches)
        step(task, batch, optimizer, parts)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        step(task, batch, optimizer, Parts())
    found = products(profiled.events(), parts.seconds)
    milliseconds: dict[str, float] = defaultdict(float)
    operations = 0.0
    for (part, shapes), count in found.items():
        seconds, each = alone(shapes)
        milliseconds[part] += seconds * count * 1e3
        operations += each * count
    medians = {name: round(statistics.median(of) * 1e3, 2) for name, of in parts.seconds.items()}
    kinds: dict[str, float] = {}
    for event in profiled.key_averages():
        if event.key in parts.seconds:
            continue
        kinds[event.key] = round(event.self_cpu_time_total / 1e3, 2)
    task.eval()
    passes = [evaluation(task, data.loader("val")) for _ in range(PASSES)]
    result = {
        "model": args.model,
        "threads": args.threads,
        "milliseconds": medians,
        "step_milliseconds": round(sum(medians.values()), 2),
        "products_alone_milliseconds": {k: round(v, 2) for k, v in milliseconds.items()},
        "products_gflop": round(operations / 1e9, 2),
        "evaluation_seconds": {
            name: round(statistics.median(each[name] for each in passes), 3) for name in passes[0]
        },
        "operators_milliseconds": dict(sorted(kinds.items(), key=lambda each: -each[1])[:12]),
        "settings": {"batch_size": cfg.batches.batch_size, "max_len": cfg.batches.max_len},
        "machine": record.machine(),
        "finished_at": record.now(),
    }
    record.write(args.out, result)


if __name__ == "__main__":
    main()
