"""What is measured, and how: windows of training steps, evaluation, and quality over time.

A peer is an object with the methods of ``Peer``; ``run`` measures it and writes the JSON.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks.harness import record
from benchmarks.harness.probe import CurveProbe, SpeedProbe, Step
from benchmarks.sequences import asked
from benchmarks.sequences.data import Split, ndcg


class Peer(Protocol):
    """One model of one library."""

    library: str  # its name as a package
    notes: dict[str, Any]  # what the library does otherwise than asked

    @property
    def split(self) -> Split:
        """The split that every library is held to."""

    def prepare(self, path: Path) -> None:
        """Seed, and bring the raw file into the library's own containers."""

    def fit(self, step: Step) -> None:
        """Train through the library until ``step`` says to stop; call it after every step."""

    def evaluate(self, users: int) -> dict[str, float]:
        """Full-ranking validation metrics of the first users, the way the library does it."""

    def scores(self) -> Iterable[torch.Tensor]:
        """Batches of scores [B, n_items] of all users for validation, unfiltered."""


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

    def score() -> dict[str, float]:
        return {"val/ndcg@10": ndcg(peer.scores(), peer.split)}

    def enough(point: dict[str, float]) -> bool:
        return bool(point["val/ndcg@10"] >= args.until)

    probe = CurveProbe(args.minutes * 60, args.every, users, score, enough)
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
    args = asked.parse_args(description)
    machine = record.machine()
    torch.set_num_threads(args.threads)
    peer = make(args)
    began = time.perf_counter()
    peer.prepare(args.data)
    prepare_seconds = time.perf_counter() - began
    measured = {"speed": speed, "quality": quality}[args.measure](peer, args)
    head = {
        "library": peer.library,
        "versions": record.versions(peer.library, asked.PACKAGES),
        "model": args.model,
        "measure": args.measure,
        "settings": asked.settings(args),
        "notes": peer.notes,
        "seed": args.seed,
        "threads": torch.get_num_threads(),
        "users": len(peer.split.train),
        "items": peer.split.n_items,
        "import_seconds": round(import_seconds, 2),
        "prepare_seconds": round(prepare_seconds, 2),
    }
    record.write(args.out, head | measured | {"machine": machine, "finished_at": record.now()})
