"""What is measured, and how: windows of training steps, evaluation, and quality over time.

A peer is an object with the methods of ``Peer``; ``run`` measures it and writes the JSON.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import record
import torch
from data import Split, ndcg

Step = Callable[[int, int], bool]  # (rows, targets) of a finished step -> whether to stop


class Peer(Protocol):
    """One model of one library."""

    library: str  # its name as a package
    split: Split
    notes: dict[str, Any]  # what the library does otherwise than asked

    def prepare(self, path: Path) -> None:
        """Seed, and bring the raw file into the library's own containers."""

    def fit(self, step: Step) -> None:
        """Train through the library until ``step`` says to stop; call it after every step."""

    def evaluate(self, users: int) -> dict[str, float]:
        """Full-ranking validation metrics of the first users, the way the library does it."""

    def scores(self) -> Iterable[torch.Tensor]:
        """Batches of scores [B, n_items] of all users for validation, unfiltered."""


class SpeedProbe:
    """Counts rows and targets over windows of consecutive steps."""

    def __init__(self, warmup: int, steps: int, windows: int) -> None:
        self.warmup, self.steps, self.wanted = warmup, steps, windows
        self.count = self.rows = self.targets = 0
        self.first_step_seconds = self.opened = 0.0
        self.windows: list[dict[str, float]] = []

    def step(self, rows: int, targets: int) -> bool:
        """Take note of a finished step; True once all windows are full."""
        now = time.perf_counter()
        self.count += 1
        if self.count == 1:
            self.first_step_seconds = record.process_age()
        if self.count <= self.warmup:
            self.opened = now
            return False
        self.rows += rows
        self.targets += targets
        if (self.count - self.warmup) % self.steps == 0:
            self._close(now)
        return len(self.windows) >= self.wanted

    def _close(self, now: float) -> None:
        window = {"seconds": now - self.opened, "rows": self.rows, "targets": self.targets}
        self.windows.append(window)
        self.opened, self.rows, self.targets = now, 0, 0

    def per_second(self, name: str) -> list[float]:
        """Rows or targets per second of each window."""
        return [round(window[name] / window["seconds"], 1) for window in self.windows]


class QualityProbe:
    """Evaluates at marks of training time; the clock stands still meanwhile."""

    def __init__(self, args: Namespace, users: int, score: Callable[[], float]) -> None:
        self.limit, self.every, self.until = args.minutes * 60, args.every, args.until
        self.users, self.score = users, score
        self.mark, self.rows, self.paused = args.every, 0, 0.0
        self.curve: list[dict[str, float]] = []
        self.began = time.perf_counter()

    def step(self, rows: int, targets: int) -> bool:
        """Take note of a finished step; True once the time is over or the figure reached."""
        now = time.perf_counter()
        trained = now - self.began - self.paused
        self.rows += rows
        if trained < min(self.mark, self.limit):
            return False
        point = {"train_seconds": round(trained, 2), "epoch": round(self.rows / self.users, 3)}
        self.curve.append(point | {"val/ndcg@10": self.score()})
        print(self.curve[-1], flush=True)
        self.paused += time.perf_counter() - now
        self.mark = (trained // self.every + 1) * self.every
        return trained >= self.limit or self.curve[-1]["val/ndcg@10"] >= self.until


def lightning_callback(base: type, step: Step, count: Callable[[Any], tuple[int, int]]) -> Any:
    """A callback of the ``base`` of one Lightning that reports each step and can stop the fit."""

    class Steps(base):  # type: ignore[misc,valid-type]
        def __deepcopy__(self, memo: dict[int, Any]) -> "Steps":
            return self  # RecTools trains with a deep copy of its trainer

        def on_train_batch_end(self, trainer: Any, module: Any, out: Any, batch: Any, i: int):
            trainer.should_stop = step(*count(batch))

    return Steps()


def speed(peer: Peer, args: Namespace) -> dict[str, Any]:
    """Training and evaluation throughput, time to the first step, peak memory."""
    probe = SpeedProbe(args.warmup, args.steps, args.windows)
    peer.fit(probe.step)
    result: dict[str, Any] = {
        "first_step_seconds": round(probe.first_step_seconds, 2),
        "windows": probe.windows,
        "rss_after_training_mib": record.peak_rss_mib(),
    }
    for name in ("rows", "targets"):
        rates = probe.per_second(name)
        result[f"{name}_per_second"] = rates
        result[f"{name}_per_second_median"] = round(statistics.median(rates), 1)
    users = min(args.eval_users, len(peer.split.train))
    began = time.perf_counter()
    metrics = peer.evaluate(users)
    seconds = time.perf_counter() - began
    result["evaluation"] = {
        "users": users,
        "seconds": round(seconds, 3),
        "users_per_second": round(users / seconds, 1),
        "metrics": metrics,
    }
    return result | {"peak_rss_mib": record.peak_rss_mib()}


def quality(peer: Peer, args: Namespace) -> dict[str, Any]:
    """The curve of validation ndcg@10 over training time."""
    users = len(peer.split.train)
    probe = QualityProbe(args, users, lambda: ndcg(peer.scores(), peer.split))
    peer.fit(probe.step)
    return {
        "minutes": args.minutes,
        "until": args.until,
        "curve": probe.curve,
        "eval_seconds": round(probe.paused, 1),
        "peak_rss_mib": record.peak_rss_mib(),
    }


def run(make: Callable[[Namespace], Peer], description: str | None, import_seconds: float) -> None:
    """Measure what the command line asks for and write it."""
    args = record.parse_args(description)
    machine = record.machine()
    torch.set_num_threads(args.threads)
    peer = make(args)
    began = time.perf_counter()
    peer.prepare(args.data)
    prepare_seconds = time.perf_counter() - began
    measured = {"speed": speed, "quality": quality}[args.measure](peer, args)
    head = {
        "library": peer.library,
        "versions": record.versions(peer.library),
        "model": args.model,
        "measure": args.measure,
        "settings": record.settings(args),
        "notes": peer.notes,
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "users": len(peer.split.train),
        "items": peer.split.n_items,
        "import_seconds": round(import_seconds, 2),
        "prepare_seconds": round(prepare_seconds, 2),
    }
    record.write(args.out, head | measured | {"machine": machine, "finished_at": record.now()})
