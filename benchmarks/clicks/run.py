"""Run every library in its own environment, and keep what failed.

``--envs FOLDER`` holds one virtual environment per library: ours, fuxictr, rechub, recbole;
``--data`` names folders that ``export.py`` wrote. Runs whose result is there already are skipped.
The repeats are the outer loop, so that a slow hour of the machine does not fall on one library; for
parity they are the seeds of one process. Standard library only; started from the root of the
repository, as ``python -m benchmarks.clicks.run``.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.clicks.asked import MODELS
from benchmarks.harness.runs import run_all

PARITY, SPEED, TIME = "parity", "speed", "time"


class Library(NamedTuple):
    """One way to run one library.

    environment: which one.  module: script.  models: that it has.  measures: that it is in.
    variant: one thing otherwise.
    """

    environment: str
    module: str
    models: tuple[str, ...] = MODELS
    measures: tuple[str, ...] = (PARITY, SPEED, TIME)
    variant: str | None = None


RECHUB, RECBOLE = ("deepfm", "dcnv2", "autoint"), ("lr_sgd", "fm", "deepfm", "dcnv2", "autoint")
LIBRARIES = {
    "ours": Library("ours", "ours", MODELS, (SPEED, TIME)),
    "ours-bare": Library("ours", "ours", MODELS, (SPEED,), "bare"),
    "ours-plain": Library("ours", "ours", MODELS, (SPEED,), "plain"),
    "ours-compiled": Library("ours", "ours", MODELS, (SPEED,), "compiled"),
    "limit": Library("ours", "limit", ("deepfm", "dcnv2"), (SPEED, TIME)),
    "fuxictr": Library("fuxictr", "fuxictr_peer", MODELS, (PARITY,)),
    "fuxictr-npz": Library("fuxictr", "fuxictr_peer", MODELS, (SPEED, TIME), "npz"),
    "fuxictr-parquet": Library("fuxictr", "fuxictr_peer", MODELS, (SPEED,), "parquet"),
    "rechub": Library("rechub", "rechub_peer", RECHUB),
    "recbole": Library("recbole", "recbole_peer", RECBOLE, (SPEED, TIME)),
}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of exports")
    parser.add_argument("--envs", type=Path, required=True, help="folder of the environments")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--zoo", type=Path, required=True, help="model_zoo of a clone of FuxiCTR")
    parser.add_argument("--measure", choices=[PARITY, SPEED, TIME], default=SPEED)
    parser.add_argument("--repeats", type=int, default=3, help="of a run; for parity the seeds")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=sorted(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["deepfm", "dcnv2"])
    parser.add_argument("--batch-size", type=int, help="instead of the experiment's")
    parser.add_argument("--seconds", type=float, default=60, help="of training, for time")
    parser.add_argument("--timeout", type=float, default=7200, help="seconds of one run")
    args = parser.parse_args()
    for name in ("envs", "out", "zoo"):
        setattr(args, name, getattr(args, name).resolve())
    return args


def runs(args: argparse.Namespace) -> Iterator[tuple[Path, list[str]]]:
    """The result file and the command of every run."""
    parity = args.measure == PARITY
    for repeat in [0] if parity else range(1, args.repeats + 1):
        for data in args.data:
            for model in args.models:
                for name in args.only:
                    library = LIBRARIES[name]
                    if model not in library.models or args.measure not in library.measures:
                        continue
                    number = "" if parity else f"-{repeat}"
                    out = args.out / f"{name}-{data.name}-{model}-{args.measure}{number}.json"
                    seeds = range(1, args.repeats + 1) if parity else [repeat]
                    yield out, _command(args, library, data.resolve(), model, out, [*seeds])


def _command(
    args: argparse.Namespace, library: Library, data: Path, model: str, out: Path, seeds: list[int]
) -> list[str]:
    python = args.envs / library.environment / "bin" / "python"
    command = [python, "-m", f"benchmarks.clicks.{library.module}", "--data", data]
    command += ["--model", model, "--measure", args.measure, "--out", out, "--seeds", *seeds]
    command += ["--threads", args.threads, "--seconds", args.seconds, "--zoo", args.zoo]
    if args.batch_size:
        command += ["--batch-size", args.batch_size]
    if library.variant:
        command += ["--variant", library.variant]
    return [str(part) for part in command]


def summary(result: dict[str, Any]) -> str:
    """One line about a result."""
    if "runs" in result:
        mean = statistics.fmean(run["test/auc"] for run in result["runs"])
        return f"{len(result['runs'])} seeds, test/auc {mean:.4f}"
    if "curve" in result:
        return f"{result['curve'][-1]}"
    rows, evaluated = result["rows_per_second_median"], result["evaluation"]["rows_per_second"]
    return f"{rows:,.0f} rows/s, evaluation {evaluated:,.0f} rows/s"


def main() -> None:
    """Run what is missing and write down the failures."""
    args = parse_args()
    log = args.out / f"failures-{args.measure}.json"
    run_all(runs(args), log, summary, args.threads, args.timeout)


if __name__ == "__main__":
    main()
