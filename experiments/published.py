"""Published rows beside ours: ``experiments/sequences/ROW.json``, with a verdict for each figure.

``rows.yaml`` says what was published, ``runs/ROW_seed*.json`` (written by ``record.py``) what came
out here, ``tried/NAME_seed*.json`` what came of other settings. The rule is that of the
replications: within 5 % of the published figure, on the mean over seeds, each figure on its own.
"""

import statistics
from pathlib import Path
from typing import Any

import polars as pl
import results
import yaml

from lightning_rec.lab import Table, spread

HERE = results.HERE / "sequences"
TOLERANCE = 0.05
FIGURES = ("test/recall@10", "test/ndcg@10")


def verdict(published: float, ours: float) -> str:
    """Say ``within 5 %``, ``better`` or ``short``, of a figure of which more is better."""
    ratio = ours / published
    if abs(ratio - 1) <= TOLERANCE:
        return f"within {TOLERANCE:.0%}".replace("%", " %")
    return "better" if ratio > 1 else "short"


def row(name: str, asked: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a row, or None while there is no run of it."""
    runs = results.of_row(HERE / "runs", name)
    if runs.is_empty():
        return None
    ours = {key: spread(runs[key].to_list()) for key in FIGURES}
    return {
        "row": name,
        **asked,
        "ours": {key: of.mean for key, of in ours.items()},
        "sd": {key: of.sd for key, of in ours.items()},
        "verdict": {
            key: verdict(value, ours[key].mean)
            if asked.get("comparable", True)
            else "not comparable"
            for key, value in asked.get("published", {}).items()
        },
        "seeds": runs["seed"].to_list(),
        "commit": sorted(set(runs["commit"])),
        "cost": {
            "cpu_minutes": round(statistics.fmean(runs["cpu_seconds"]) / 60, 1),
            "fit_minutes": round(statistics.fmean(runs["seconds.fit"]) / 60, 1),
            "threads": sorted(set(runs["machine.threads"])),
            "peak_memory_mib": runs["peak_memory_mib"].max(),
        },
        "runs": [f"runs/{name}_seed{seed}.json" for seed in runs["seed"]],
    }


def records() -> dict[Path, dict[str, Any]]:
    """Every row that has runs, by the file it belongs into."""
    asked: dict[str, Any] = yaml.safe_load((HERE / "rows.yaml").read_text())
    found = {HERE / f"{name}.json": row(name, settings) for name, settings in asked.items()}
    return {path: record for path, record in found.items() if record is not None}


def rows() -> Table:
    """Data, row, published, ours, verdict, seeds, cost, what deviates."""
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
    header = ["data", "row", "recall@10 published", "ours", "verdict", "ndcg@10 published", "ours"]
    header += ["verdict", "seeds", "CPU minutes a seed", "what deviates from the source"]
    return Table(header, lines)


def tried() -> Table:
    """What did not help: row, what, epochs, validation, that of the row."""
    lines = []
    for record in records().values():
        for name, what in record.get("tried", {}).items():
            own = curve(results.of_row(HERE / "runs", record["row"]))
            other = curve(results.of_row(HERE / "tried", name))
            epochs = max(other)
            by_then = max(value for epoch, value in own.items() if epoch <= epochs)
            figures = [max(other.values()), by_then, max(own.values())]
            cells = [str(epochs), *(f"{value:.4f}" for value in figures)]
            lines.append([record["data"], record["title"], what, *cells])
    header = ["data", "row", "tried", "epochs", "best val/ndcg@10", "the row's by then"]
    return Table([*header, "the row's at last"], lines)


def curve(runs: pl.DataFrame) -> dict[int, float]:
    """The monitored figure of the first run by epoch, counted from 1."""
    return {entry["epoch"]: entry["value"] for entry in runs["curve"][0]}
