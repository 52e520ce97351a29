"""What is measured, and how: figures on the test, speed, and the way up to an AUC.

A peer is an object with the methods of ``Peer``; ``run`` measures it and writes the JSON.
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.clicks import asked
from benchmarks.clicks.data import LABEL, Export, figures, load
from benchmarks.harness import record
from benchmarks.harness.probe import CurveProbe, EnoughError, SpeedProbe, Step


class Peer(Protocol):
    """One model of one library."""

    library: str  # its name as a package
    notes: dict[str, Any]  # what the library does otherwise than asked

    def prepare(self, seed: int) -> None:
        """Seed, make the model, and bring the rows into what the library trains on."""

    def fit(self, step: Step | None) -> int:
        """Train through the library; without ``step`` until it stops early by itself.

        Returns the number of epochs; the weights are then those of the best validation. With
        ``step``, call it after every step and end once it says so, by EnoughError if need be. For
        speed there is no validation.
        """

    def evaluate(self) -> dict[str, float]:
        """Metrics of the validation rows, AUC among them, the way the library does it."""

    def probabilities(self, part: str) -> NDArray[np.float64]:
        """Of a click, for the rows of a part in their order: [n]."""


Make = Callable[[Namespace, Export], Peer]


def _figures(peer: Peer, data: Export, part: str) -> dict[str, float]:
    return figures(peer.probabilities(part), data.parts[part][LABEL], part)


def parity(make: Make, args: Namespace, data: Export) -> tuple[Peer, dict[str, Any]]:
    """Exact figures of each seed, at the best validation."""
    runs = []
    for seed in args.seeds:
        peer = make(args, data)
        peer.prepare(seed)
        began = time.perf_counter()
        epochs = peer.fit(None)
        run = {"seed": seed, "epochs": epochs, "seconds": round(time.perf_counter() - began, 1)}
        runs.append(run | _figures(peer, data, "val") | _figures(peer, data, "test"))
        print(runs[-1], flush=True)
    return peer, {"runs": runs}


def speed(make: Make, args: Namespace, data: Export) -> tuple[Peer, dict[str, Any]]:
    """Training and evaluation throughput, time to the first step, peak memory."""
    peer, result = _prepared(make, args, data)
    probe = SpeedProbe(args.warmup, args.steps, args.windows)
    _fit(peer, probe.step)
    rates = probe.per_second("rows")
    spent = []
    for _ in range(args.windows):
        began = time.perf_counter()
        metrics = peer.evaluate()
        spent.append(time.perf_counter() - began)
    seconds = statistics.median(spent)
    return peer, result | {
        "first_step_seconds": round(probe.first_step_seconds, 2),
        "rows_per_second": rates,
        "rows_per_second_median": round(statistics.median(rates), 1),
        "evaluation": {
            "rows": data.rows("val"),
            "seconds": round(seconds, 3),
            "rows_per_second": round(data.rows("val") / seconds, 1),
            "metrics": metrics,
        },
        "peak_rss_mib": record.peak_rss_mib(),
    }


def way_up(make: Make, args: Namespace, data: Export) -> tuple[Peer, dict[str, Any]]:
    """The curve of validation AUC over seconds of training, its own validations included."""
    peer, result = _prepared(make, args, data)
    rows = data.rows("train")
    probe = CurveProbe(args.seconds, args.every, rows, lambda: _figures(peer, data, "val"))
    _fit(peer, probe.step)
    paused = round(probe.paused, 1)
    return peer, result | {"curve": probe.curve, "eval_seconds": paused}


def _prepared(make: Make, args: Namespace, data: Export) -> tuple[Peer, dict[str, Any]]:
    began = time.perf_counter()
    peer = make(args, data)
    peer.prepare(args.seeds[0])
    seconds = round(time.perf_counter() - began, 2)
    return peer, {"seed": args.seeds[0], "prepare_seconds": seconds}


def _fit(peer: Peer, step: Step) -> None:
    try:
        peer.fit(step)
    except EnoughError:
        return


MEASURES = {"parity": parity, "speed": speed, "time": way_up}


def run(make: Make, library: str, description: str | None, import_seconds: float) -> None:
    """Measure what the command line asks for and write it."""
    args = asked.parse_args(description)
    machine = record.machine()
    torch.set_num_threads(args.threads)
    data = load(args.data)
    peer, measured = MEASURES[args.measure](make, args, data)
    head = {
        "library": library,
        "versions": record.versions(library, asked.PACKAGES),
        "model": args.model,
        "measure": args.measure,
        "data": data.meta["name"],
        **{key: data.meta[key] for key in ("data_hash", "protocol_hash")},
        "rows_sha256": data.meta["sha256"],
        "settings": asked.settings(data.meta, args),
        "notes": peer.notes,
        "threads": torch.get_num_threads(),
        "import_seconds": round(import_seconds, 2),
    }
    record.write(args.out, head | measured | {"machine": machine, "finished_at": record.now()})
