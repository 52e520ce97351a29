"""What the peer scripts share: their arguments, the curve of a run, and its JSON file."""

import argparse
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.parity.split import Split, evaluate

EVERY = 10  # epochs between evaluations
MONITOR = "val/ndcg@10"
SETTINGS: dict[str, Any] = {
    "dim": 64,
    "depth": 2,
    "heads": 2,
    "max_len": 50,
    "dropout": 0.2,
    "mask_prob": 0.2,
    "loss": "softmax over the catalogue",
    "optimizer": "Adam",
    "lr": 1e-3,
    "batch_size": 64,
}


def parse_args(
    description: str | None,
    epochs: int = 200,
    every: int = EVERY,
    flags: Mapping[str, str] = MappingProxyType({}),
) -> argparse.Namespace:
    """The command line of a peer script, evaluated after ``every`` epochs; ``flags`` of its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the ml-100k.inter file")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--epochs", type=int, default=epochs, help=f"a multiple of {every}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    args = parser.parse_args()
    if args.epochs % every:
        parser.error(f"--epochs must be a multiple of {every}")
    return args


@dataclass
class Record:
    """The evaluations of one run. The clock runs from creation; evaluation is kept apart."""

    split: Split
    curve: list[dict[str, float]] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    eval_seconds: float = 0.0

    def add(self, epoch: int, val_top: np.ndarray, test_top: np.ndarray) -> None:
        """Score the lists of one epoch. Only validation chooses the best epoch."""
        val = evaluate(val_top, self.split.val_target, self.split.train)
        test = evaluate(test_top, self.split.test_target, self.split.test_input)
        named_val = {f"val/{name}": value for name, value in val.items()}
        named_test = {f"test/{name}": value for name, value in test.items()}
        self.last = {"epoch": epoch, **named_val, **named_test}
        self.curve.append(self.last)
        if not self.best or self.last[MONITOR] > self.best[MONITOR]:
            self.best = self.last

    def write(
        self,
        path: Path,
        library: str,
        args: argparse.Namespace,
        defaults: dict[str, Any],
        settings: dict[str, Any] = SETTINGS,
    ) -> None:
        """Write the run as JSON, under its final name only once it is complete."""
        total = time.perf_counter() - self.start
        result = {
            "library": library,
            "version": version(library),
            "seed": args.seed,
            "epochs": args.epochs,
            "settings": settings,
            "library_defaults": defaults,
            "n_users": len(self.split.train),
            "n_items": self.split.n_items,
            "last": self.last,
            "best": self.best,
            "curve": self.curve,
            "train_seconds": round(total - self.eval_seconds, 1),
            "eval_seconds": round(self.eval_seconds, 1),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(result, indent=2) + "\n")
        part.replace(path)
