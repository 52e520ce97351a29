"""The tables of ``benchmarks/clicks/README.md`` from the results of ``run.py``.

``python -m benchmarks.clicks.table RESULTS PAGE [--check]``, from the root of the repository.
"""

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, measured, median, row

TITLES = {
    "ours": "lightning_rec",
    "ours-bare": "the same without Lightning",
    "ours-plain": "`task.arithmetic=plain`",
    "ours-compiled": "`task.arithmetic=compiled`",
    "limit": "plain PyTorch, hand-written",
    "fuxictr-npz": "FuxiCTR 2.3.10, npz",
    "fuxictr-parquet": "FuxiCTR 2.3.10, Parquet",
    "rechub": "torch-rechub 0.9.0",
    "recbole": "RecBole 1.2.1",
}
LIMITS = ("ours-bare", "limit")
PEERS = ("fuxictr-npz", "fuxictr-parquet", "rechub", "recbole")
SPEED = (
    "rows/s", "of the best peer", "of plain PyTorch", "evaluation, rows/s", "of the best peer",
    "start to first step, s", "preparing, s", "peak memory, MiB", "repeats",
)  # fmt: skip

Results = dict[tuple[str, str], dict[str, list[dict[str, Any]]]]


def load(folder: Path, measure: str) -> Results:
    """The results of a measurement by data and model, and by library."""
    found: Results = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob(f"*-{measure}-*.json")):
        result = json.loads(path.read_text())
        name, _, data = path.name.partition(f"-{result['model']}-")[0].rpartition("-")
        found[data, result["model"]][name].append(result)
    return found


def best(figures: dict[str, float], names: tuple[str, ...]) -> float | None:
    """The highest figure of some libraries."""
    return max((figures[name] for name in names if name in figures), default=None)


def share(figure: float, of: float | None) -> str:
    """One figure as a share of another."""
    return f"{figure / of:.2f}" if of else ""


def speed(folder: Path) -> str:
    """Rows a second, start and memory."""
    lines: list[str] = []
    for (data, model), results in sorted(load(folder, "speed").items()):
        rows = {name: median(of, "rows_per_second_median") for name, of in results.items()}
        evaluated = {
            name: median(of, "evaluation", "rows_per_second") for name, of in results.items()
        }
        lines += headed((f"{model}, {data}", *SPEED))
        for name in (name for name in TITLES if name in results):
            of = results[name]
            cells = [TITLES[name], f"{rows[name]:,.0f}", share(rows[name], best(rows, PEERS))]
            cells.append(share(rows[name], best(rows, LIMITS)))
            cells += [f"{evaluated[name]:,.0f}", share(evaluated[name], best(evaluated, PEERS))]
            cells += [f"{median(of, f'{key}_seconds'):.1f}" for key in ("first_step", "prepare")]
            lines.append(row([*cells, f"{median(of, 'peak_rss_mib'):,.0f}", str(len(of))]))
        every = [result for of in results.values() for result in of]
        batch = every[0]["settings"]["batch_size"]
        lines += ["", f"Batches of {batch:,}; {measured(every)}; medians.", ""]
    return "\n".join(lines)


def reached(result: dict[str, Any], goal: float) -> float | None:
    """Seconds of training until the curve first is at the goal; None if it never is."""
    at = (point["train_seconds"] for point in result["curve"] if point["val/auc"] >= goal)
    return next(at, None)


def highest(results: list[dict[str, Any]]) -> list[float]:
    """The best validation AUC of each repeat."""
    return [max(point["val/auc"] for point in result["curve"]) for result in results]


def way_up(folder: Path) -> str:
    """Seconds to the AUC that the best peer reaches in every repeat."""
    lines: list[str] = []
    for (data, model), results in sorted(load(folder, "time").items()):
        tops = {name: statistics.median(highest(of)) for name, of in results.items()}
        peers = {name: top for name, top in tops.items() if name in PEERS}
        if not peers:
            continue
        leader = max(peers, key=lambda name: peers[name])
        goal = min(highest(results[leader]))
        waited = [reached(result, goal) for result in results[leader]]
        theirs = statistics.median(seconds for seconds in waited if seconds is not None)
        lines += headed((f"{model}, {data}", f"s to {goal:.4f}", "of the best peer's", "best AUC"))
        for name in (name for name in TITLES if name in results):
            found = [reached(result, goal) for result in results[name]]
            cells = ", ".join("never" if s is None else f"{s:.1f}" for s in found)
            there = [seconds for seconds in found if seconds is not None]
            ratio = f"{statistics.median(there) / theirs:.2f}" if len(there) == len(found) else ""
            top = ", ".join(f"{figure:.4f}" for figure in highest(results[name]))
            lines.append(row([TITLES[name], cells, ratio, top]))
        lines += ["", f"{measured([result for of in results.values() for result in of])}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    fill({"speed": speed, "time": way_up})
