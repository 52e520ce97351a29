"""What the libraries are asked for, and the command line of a peer script.

Only the standard library is imported here: a library's import is timed.
"""

import argparse
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {
    "dim": 64,
    "depth": 2,
    "max_len": 200,
    "batch_size": 128,
    "eval_batch_size": 256,
    "lr": 1e-3,
    "optimizer": "Adam",
    "loss": "softmax over the catalogue",
}
OF_MODEL: dict[str, dict[str, Any]] = {
    "sasrec": {"heads": 1, "dropout": 0.1, "ffn": 64},
    "bert4rec": {"heads": 2, "dropout": 0.2, "ffn": 256, "mask_prob": 0.2},
}
PACKAGES = ("torch", "numpy", "pandas", "lightning", "pytorch-lightning")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """The hyper-parameters that a library is asked for."""
    asked = {"max_len": args.max_len, "batch_size": args.batch_size}
    return SETTINGS | OF_MODEL[args.model] | asked


def parse_args(description: str | None) -> argparse.Namespace:
    """The command line of a peer script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="lines of 'user item', gzip")
    parser.add_argument("--model", choices=sorted(OF_MODEL), required=True)
    parser.add_argument("--measure", choices=["speed", "quality"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--accelerator", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--max-len", type=int, default=SETTINGS["max_len"])
    parser.add_argument("--batch-size", type=int, default=SETTINGS["batch_size"])
    speed = parser.add_argument_group("speed")
    speed.add_argument("--steps", type=int, default=10, help="training steps of a window")
    speed.add_argument("--windows", type=int, default=5)
    speed.add_argument("--warmup", type=int, default=3, help="steps before the first window")
    speed.add_argument("--eval-users", type=int, default=2048)
    speed.add_argument("--no-anomaly", action="store_true", help="RecBole: anomaly mode off")
    parser.add_argument("--buckets", type=int, default=0, help="replay.nn: rows to a bucket")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--minutes", type=float, default=15, help="of training")
    quality.add_argument("--every", type=float, default=20, help="seconds between evaluations")
    quality.add_argument("--until", type=float, default=1, help="val/ndcg@10 that ends the curve")
    args = parser.parse_args()
    if min(args.steps, args.windows, args.warmup) < 1:
        parser.error("--steps, --windows and --warmup must be at least 1")
    args.data, args.out = args.data.resolve(), args.out.resolve()
    return args
