"""Two versions of lightning_rec side by side, and on other machines: the tables of ``README.md``.

``python -m benchmarks.versions benchmarks/versions benchmarks/README.md [--check]``. Below the
folder: ``quiet/before``, ``after`` and ``peers``, results of ``clicks/run.py`` and
``sequences/run.py``, made in turn; ``avx2`` and ``busy``, of SASRec beside RePlay where a processor
has no more than AVX2, and where two other processes want the two cores.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, measured, median, row

Runs = dict[str, list[dict[str, Any]]]


def load(folder: Path) -> Runs:
    """The repeats of each measurement, by its name."""
    found: Runs = defaultdict(list)
    for path in sorted(folder.glob("*-speed-*.json")):
        if not path.name.startswith("failures"):
            found[path.stem.rpartition("-speed-")[0]].append(json.loads(path.read_text()))
    return found


def training(runs: list[dict[str, Any]]) -> float:
    """Targets, or rows of clicks, that are trained a second."""
    key = "targets_per_second_median" if "targets_per_second_median" in runs[0] else None
    return median(runs, key or "rows_per_second_median")


def evaluation(runs: list[dict[str, Any]]) -> float:
    """Users, or rows of clicks, that are evaluated a second."""
    of_users = "users_per_second" in runs[0]["evaluation"]
    return median(runs, "evaluation", "users_per_second" if of_users else "rows_per_second")


def first_step(runs: list[dict[str, Any]]) -> float:
    """Seconds from the start of the process to the end of the first step."""
    return median(runs, "first_step_seconds")


def quiet(folder: Path) -> str:
    """Speed of both versions on an idle machine, and beside the best peer of each measure."""
    before, after, others = (load(folder / "quiet" / n) for n in ("before", "after", "peers"))
    names = ("", "trained/s before", "after", "ratio", "of the best peer", "evaluated/s before",
             "after", "ratio", "of the best peer", "start to first step, s, before", "after",
             "of the best peer", "by hand", "repeats")  # fmt: skip
    lines = []
    for name in sorted(before):
        old, new, what = before[name], after[name], name.removeprefix("ours-")
        beside = [runs for n, runs in others.items() if n.endswith(what) and "limit" not in n]
        by_hand = others.get(f"limit-{what}")
        cells = [what.replace("-", ", ")]
        for of in (training, evaluation):
            best = max(map(of, beside), default=None)
            cells += [f"{of(old):,.0f}", f"{of(new):,.0f}", f"{of(new) / of(old):.2f}"]
            cells.append(f"{of(new) / best:.2f}" if best else "")
        soonest = min(map(first_step, beside), default=None)
        cells += [f"{first_step(runs):.1f}" for runs in (old, new)]
        cells.append(f"{first_step(new) / soonest:.2f}" if soonest else "")
        hand = [training(by_hand), evaluation(by_hand)] if by_hand else []
        cells.append("; ".join(f"{each:,.0f}" for each in hand))
        lines.append(row([*cells, str(min(len(old), len(new)))]))
    every = [run for runs in (*before.values(), *after.values()) for run in runs]
    return "\n".join([*headed(names), *lines, "", f"{measured(every)}; medians."])


def beside(folder: Path, name: str) -> str:
    """SASRec on MovieLens-1M beside RePlay: each folder below is a version, but for its peers."""
    found = {path.name: load(path) for path in sorted((folder / name).iterdir())}
    peer = found["after"]["replay-sasrec"]
    shown = {"RePlay 0.22.0": peer, "lightning_rec": found["after"]["ours-sasrec"]}
    if "before" in found:
        shown["lightning_rec, before"] = found["before"]["ours-sasrec"]
    lines = [
        row([
            title,
            f"{training(runs):,.0f}",
            f"{training(runs) / training(peer):.2f}",
            f"{evaluation(runs):,.0f}",
            f"{evaluation(runs) / evaluation(peer):.2f}",
            str(len(runs)),
        ])
        for title, runs in shown.items()
    ]  # fmt: skip
    names = ("", "targets/s", "of RePlay's", "users/s", "of RePlay's", "repeats")
    every = [run for runs in shown.values() for run in runs]
    return "\n".join([*headed(names), *lines, "", f"{measured(every)}; medians."])


if __name__ == "__main__":
    fill({
        "versions": quiet,
        "avx2": lambda folder: beside(folder, "avx2"),
        "busy": lambda folder: beside(folder, "busy"),
    })  # fmt: skip
