"""Published rows beside ours: ``experiments/sequences/ROW.json``, with a verdict each.

``rows.yaml`` says what was published, ``runs/ROW_seed*.json`` (written by ``record.py``) what came
out here, ``tried/NAME_seed*.json`` what came of other settings. The rule is that of the
replications: within 5 % of the published figure, on the mean over seeds, for each figure.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent / "sequences"
TOLERANCE = 0.05


def runs_of(row: str) -> list[dict[str, Any]]:
    """Our runs of a row, ordered by seed."""
    found = [json.loads(path.read_text()) for path in HERE.glob(f"runs/{row}_seed*.json")]
    return sorted(found, key=lambda run: int(run["seed"]))


def verdict(published: dict[str, float], ours: dict[str, float], comparable: bool) -> str:
    """Say ``reproduced``, ``better``, ``short`` or ``not comparable``."""
    if not comparable:
        return "not comparable"
    ratios = [ours[name] / value for name, value in published.items()]
    if min(ratios) < 1 - TOLERANCE:
        return "short"
    return "better" if min(ratios) > 1 + TOLERANCE else "reproduced"


def row(name: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a row, or None while there is no run of it."""
    runs = runs_of(name)
    if not runs:
        return None
    values = {key: [run["metrics"][key] for run in runs] for key in asked["published"]}
    ours = {key: statistics.fmean(of) for key, of in values.items()}
    spread = {key: statistics.stdev(of) if len(of) > 1 else None for key, of in values.items()}
    return {
        "row": name,
        **asked,
        "ours": ours,
        "sd": spread,
        "verdict": verdict(asked["published"], ours, asked.get("comparable", True)),
        "seeds": [run["seed"] for run in runs],
        "seeds_asked": asked["seeds"],
        "commit": sorted({run["commit"] for run in runs}),
        "cost": {
            "cpu_minutes": round(statistics.fmean(run["cpu_seconds"] for run in runs) / 60, 1),
            "fit_minutes": round(statistics.fmean(run["seconds"]["fit"] for run in runs) / 60, 1),
            "threads": sorted({run["machine"]["threads"] for run in runs}),
            "peak_memory_mib": max(run["peak_memory_mib"] for run in runs),
        },
        "runs": [f"runs/{name}_seed{run['seed']}.json" for run in runs],
    }


def records() -> dict[Path, dict[str, Any]]:
    """Every row that has runs, by the file it belongs into."""
    asked: dict[str, Any] = yaml.safe_load((HERE / "rows.yaml").read_text())
    found = {HERE / f"{name}.json": row(name, settings) for name, settings in asked.items()}
    return {path: record for path, record in found.items() if record is not None}


def tried() -> list[list[str]]:
    """Cells of the table of what did not help: row, what, epochs, validation, that of the row."""
    lines = []
    for record in records().values():
        own = runs_of(record["row"])[0]["curve"] if "tried" in record else {}
        for name, what in record.get("tried", {}).items():
            (path,) = HERE.glob(f"tried/{name}_seed*.json")
            curve = json.loads(path.read_text())["curve"]
            epochs = max(map(int, curve))
            within = max(value for epoch, value in own.items() if int(epoch) <= epochs)
            figures = [f"{max(curve.values()):.4f}", f"{within:.4f}", f"{max(own.values()):.4f}"]
            lines.append([record["data"], record["title"], what, str(epochs), *figures])
    return lines


TRIED = [
    "data", "row", "tried", "epochs", "best val/ndcg@10", "the row's by then", "the row's at last",
]  # fmt: skip


def table() -> list[list[str]]:
    """Cells of the table: data, row, published, ours, verdict, seeds, cost."""
    lines = []
    for record in records().values():
        cells = []
        for name, value in record["published"].items():
            sd = record["sd"][name]
            cells += [
                f"{value:.4f}",
                f"{record['ours'][name]:.4f}" + (f" ± {sd:.4f}" if sd else ""),
            ]
        seeds = f"{len(record['seeds'])} of {record['seeds_asked']}"
        cost = f"{record['cost']['cpu_minutes']:.0f}"
        lines.append([record["data"], record["title"], *cells, record["verdict"], seeds, cost])
    return lines


HEADER = [
    "data", "row", "recall@10 published", "ours", "ndcg@10 published", "ours", "verdict", "seeds",
    "CPU minutes a seed",
]  # fmt: skip
