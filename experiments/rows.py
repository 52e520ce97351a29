"""Published rows beside ours: ``experiments/sequences/ROW.json``, with a verdict for each figure.

``rows.yaml`` says what was published, ``runs/ROW_seed*.json`` (written by ``record.py``) what came
out here, ``tried/NAME_seed*.json`` what came of other settings. The rule is that of the
replications: within 5 % of the published figure, on the mean over seeds, each figure on its own.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent / "sequences"
TOLERANCE = 0.05
FIGURES = ("test/recall@10", "test/ndcg@10")


def runs_of(row: str) -> list[dict[str, Any]]:
    """Our runs of a row, ordered by seed."""
    found = [json.loads(path.read_text()) for path in HERE.glob(f"runs/{row}_seed*.json")]
    return sorted(found, key=lambda run: int(run["seed"]))


def verdict(published: float, ours: float) -> str:
    """Say ``within 5 %``, ``better`` or ``short``, of a figure of which more is better."""
    ratio = ours / published
    if abs(ratio - 1) <= TOLERANCE:
        return f"within {TOLERANCE:.0%}".replace("%", " %")
    return "better" if ratio > 1 else "short"


def row(name: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a row, or None while there is no run of it."""
    runs = runs_of(name)
    if not runs:
        return None
    values = {key: [run["metrics"][key] for run in runs] for key in FIGURES}
    ours = {key: statistics.fmean(of) for key, of in values.items()}
    spread = {key: statistics.stdev(of) if len(of) > 1 else None for key, of in values.items()}
    return {
        "row": name,
        **asked,
        "ours": ours,
        "sd": spread,
        "verdict": {
            key: verdict(value, ours[key]) if asked.get("comparable", True) else "not comparable"
            for key, value in asked.get("published", {}).items()
        },
        "seeds": [run["seed"] for run in runs],
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
    """Cells of the table: data, row, published, ours, verdict, seeds, cost, what deviates."""
    lines = []
    for record in records().values():
        cells = []
        for name in FIGURES:
            sd, published = record["sd"][name], record.get("published", {}).get(name)
            ours = f"{record['ours'][name]:.4f}" + (f" ± {sd:.4f}" if sd else "")
            told = f"{published:.4f}" if published else "-"
            cells += [told, ours, record["verdict"].get(name, "-")]
        number = len(record["seeds"])
        seeds = str(number) if number > 1 else "one seed"
        cost = f"{record['cost']['cpu_minutes']:.0f}"
        deviates = " ".join(record.get("deviates", "").split())
        lines.append([record["data"], record["title"], *cells, seeds, cost, deviates])
    return lines


HEADER = [
    "data", "row", "recall@10 published", "ours", "verdict", "ndcg@10 published", "ours", "verdict",
    "seeds", "CPU minutes a seed", "what deviates from the source",
]  # fmt: skip
