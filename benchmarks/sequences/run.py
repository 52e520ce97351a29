"""Run every script in its own environment, several times in turn, and keep what failed.

``--envs FOLDER`` holds one virtual environment per library: ours, recbole, rectools, replay. Runs
whose result is there already are skipped. The repeats are the outer loop, so that a slow hour of
the machine does not fall on one library. Standard library only.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import OF_MODEL, now, write

HERE = Path(__file__).parent
BOTH = ("sasrec", "bert4rec")
# name: environment, script, arguments, models
LIBRARIES: dict[str, tuple[str, str, list[str], tuple[str, ...]]] = {
    "ours": ("ours", "ours.py", [], BOTH),
    **{
        f"ours-{variant}": ("ours", "ours.py", ["--variant", variant], BOTH)
        for variant in ("bare", "plain", "whole", "attention-kept", "bf16")
    },
    "rectools": ("rectools", "rectools_peer.py", [], BOTH),
    "replay": ("replay", "replay_peer.py", [], BOTH),
    "replay-nn": ("replay", "replay_nn_peer.py", [], ("sasrec",)),
    "replay-nn-buckets": ("replay", "replay_nn_peer.py", ["--buckets", "16"], ("sasrec",)),
    "recbole": ("recbole", "recbole_peer.py", [], BOTH),
    "recbole-no-anomaly": ("recbole", "recbole_peer.py", ["--no-anomaly"], BOTH),
}
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
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
    return parser.parse_args()


def runs(args: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """The result file and the command of every run."""
    for repeat in range(1, args.repeats + 1):
        for name in args.only:
            environment, script, own, models = LIBRARIES[name]
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
                yield out, [str(part) for part in (python, HERE / script, *common, *own)]


def run(command: list[str], args: argparse.Namespace) -> str | None:
    """Run one command; the reason if it failed."""
    environ = os.environ | MALLOC | {"OMP_NUM_THREADS": str(args.threads)}
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=args.timeout
        )
    except subprocess.TimeoutExpired:
        return f"not done after {args.timeout:.0f} s"
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    if done.returncode == 0:
        return None
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    return f"exit status {done.returncode}: {last[0]}"


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
    failures: list[dict[str, Any]] = []
    log = args.out / f"failures-{args.measure}.json"
    write(log, {"failures": failures})
    for out, command in runs(args):
        if out.exists():
            print(f"{out.name}: there already", flush=True)
            continue
        time.sleep(args.pause)  # what the run before left to do should not fall on this one
        began = time.perf_counter()
        reason = run(command, args)
        seconds = round(time.perf_counter() - began, 1)
        if reason:
            failures.append({"run": out.stem, "reason": reason, "seconds": seconds, "at": now()})
            write(log, {"failures": failures})
        done = f"failed: {reason}" if reason else summary(json.loads(out.read_text()))
        print(f"{out.name}: {seconds} s, {done}", flush=True)


if __name__ == "__main__":
    main()
