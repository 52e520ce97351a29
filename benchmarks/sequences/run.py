"""Run every script in its own environment, several times in turn, and keep what failed.

``--envs FOLDER`` holds one virtual environment per library: ours, recbole, rectools, replay. Runs
whose result is there already are skipped. The repeats are the outer loop, so that a slow hour of
the machine does not fall on one library. Standard library only; started from the root of the
repository, as ``python -m benchmarks.sequences.run``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness.runs import run_all
from benchmarks.sequences.asked import OF_MODEL

BOTH = ("sasrec", "bert4rec")
# name: environment, module, arguments, models
LIBRARIES: dict[str, tuple[str, str, list[str], tuple[str, ...]]] = {
    "ours": ("ours", "ours", [], BOTH),
    **{
        f"ours-{variant}": ("ours", "ours", ["--variant", variant], BOTH)
        for variant in ("bare", "plain", "whole", "attention-kept", "bf16")
    },
    "rectools": ("rectools", "rectools_peer", [], BOTH),
    "replay": ("replay", "replay_peer", [], BOTH),
    "replay-nn": ("replay", "replay_nn_peer", [], ("sasrec",)),
    "replay-nn-buckets": ("replay", "replay_nn_peer", ["--buckets", "16"], ("sasrec",)),
    "recbole": ("recbole", "recbole_peer", [], BOTH),
    "recbole-no-anomaly": ("recbole", "recbole_peer", ["--no-anomaly"], BOTH),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="lines of 'user item', gzip")
    parser.add_argument("--envs", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=sorted(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--models", nargs="+", choices=sorted(OF_MODEL), default=list(BOTH))
    parser.add_argument("--measure", choices=["speed", "quality"], default="speed")
    parser.add_argument("--minutes", type=float, default=15, help="of training, for quality")
    parser.add_argument("--until", type=float, default=1, help="val/ndcg@10 that ends a curve")
    parser.add_argument("--pause", type=float, default=10, help="seconds of rest before each run")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--eval-users", type=int, default=2048)
    parser.add_argument("--timeout", type=float, default=7200, help="seconds of one run")
    args = parser.parse_args()
    for name in ("data", "envs", "out"):
        setattr(args, name, getattr(args, name).resolve())
    return args


def runs(args: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """The result file and the command of every run."""
    for repeat in range(1, args.repeats + 1):
        for name in args.only:
            environment, module, own, models = LIBRARIES[name]
            if args.measure == "quality" and environment == "recbole":
                continue  # a pass over its rows takes hours
            for model in models:
                if model not in args.models:
                    continue
                out = args.out / f"{name}-{model}-{args.measure}-{repeat}.json"
                python = args.envs / environment / "bin" / "python"
                common = ["--data", args.data, "--model", model, "--measure", args.measure]
                common += ["--out", out, "--seed", repeat, "--threads", args.threads]
                common += ["--steps", args.steps, "--windows", args.windows]
                common += ["--eval-users", args.eval_users, "--minutes", args.minutes]
                common += ["--until", args.until]
                script = ("-m", f"benchmarks.sequences.{module}")
                yield out, [str(part) for part in (python, *script, *common, *own)]


def summary(result: dict[str, Any]) -> str:
    """One line about a result."""
    if "curve" in result:
        return f"{result['curve'][-1]}"
    rows, targets = result["rows_per_second_median"], result["targets_per_second_median"]
    users = result["evaluation"]["users_per_second"]
    return f"{rows} rows/s, {targets} targets/s, {users} users/s"


def main() -> None:
    """Run what is missing and write down the failures."""
    args = parse_args()
    log = args.out / f"failures-{args.measure}.json"
    run_all(runs(args), log, summary, args.threads, args.timeout, args.pause)


if __name__ == "__main__":
    main()
