"""The command line of a peer script, and which models are compared; standard library only."""

import argparse
from pathlib import Path
from typing import Any

MODELS = ("lr_sgd", "fm", "deepfm", "dcnv2", "autoint", "finalmlp")
PACKAGES = ("torch", "numpy", "pandas", "polars", "ray", "pytorch-lightning")


def parse_args(description: str | None) -> argparse.Namespace:
    """The command line of a peer script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="the folder of an export")
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--measure", choices=["parity", "speed", "time"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="more only for parity")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, help="instead of the experiment's")
    parser.add_argument("--variant", help="one thing otherwise, if the library knows it")
    parser.add_argument("--zoo", type=Path, help="FuxiCTR: model_zoo of a clone of it")
    speed = parser.add_argument_group("speed")
    speed.add_argument("--steps", type=int, default=20, help="training steps of a window")
    speed.add_argument("--windows", type=int, default=5)
    speed.add_argument("--warmup", type=int, default=5, help="steps before the first window")
    time = parser.add_argument_group("time")
    time.add_argument("--seconds", type=float, default=60, help="of training")
    time.add_argument("--every", type=float, default=1, help="seconds between evaluations")
    args = parser.parse_args()
    if args.measure != "parity" and len(args.seeds) > 1:
        parser.error("--seeds takes more than one only with --measure parity")
    if min(args.steps, args.windows, args.warmup) < 1:
        parser.error("--steps, --windows and --warmup must be at least 1")
    return args


def settings(meta: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The hyper-parameters that a library is asked for: the experiment's and the model's."""
    own = {"batch_size": args.batch_size} if args.batch_size else {}
    asked: dict[str, Any] = meta["settings"] | meta["models"][args.model] | own
    return asked
