"""Copy what a table needs out of finished run folders: ``record.py TARGET ROW RUN [RUN …]``.

One JSON per run, named after its row and seed: figures, seed, commit, hashes, times, machine, and
the curve of validation where the run logged to a CSV. A TARGET named ``tried`` takes runs that were
stopped, too: they say what did not help.
"""

import csv
import json
import sys
from pathlib import Path

import yaml

KEPT = (
    "seed", "commit", "dirty", "version", "started", "finished", "config_hash", "data_hash",
    "protocol_hash", "language_hash", "environment_hash", "packages", "python", "machine",
    "seconds", "cpu_seconds", "peak_memory_mib", "cost", "overrides", "split", "audit",
)  # fmt: skip


def record(target: Path, row: str, run: Path) -> Path:
    """Write ``target/<row>_seed<n>.json``.

    Raises SystemExit if the run is not completed, or was measured on a part of the data alone.
    """
    card = json.loads((run / "run.json").read_text())
    if card["status"] != "completed" and target.name != "tried":
        raise SystemExit(f"{run} is {card['status']}, not completed")
    if part := card.get("partial"):
        raise SystemExit(f"{run} was measured on a part of the data alone, {part}: no result")
    measured = run / "metrics.json"
    figures = json.loads(measured.read_text()) if measured.exists() else {}
    # Where a run lay says nothing about it.
    card["overrides"] = [each for each in card["overrides"] if not each.startswith("run_dir=")]
    path = target / f"{row}_seed{card['seed']}.json"
    target.mkdir(parents=True, exist_ok=True)
    kept = {"row": row} | {key: card[key] for key in KEPT if key in card} | {"metrics": figures}
    monitor = yaml.safe_load((run / "config.yaml").read_text())["monitor"]
    if curve := validation(run, card["status"] == "completed", monitor):
        kept |= {"status": card["status"], "monitor": monitor, "curve": curve}
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def validation(run: Path, completed: bool, figure: str) -> dict[str, float]:
    """The monitored figure after each epoch, counted from 1; empty where no CSV has it."""
    log = run / "csv" / "metrics.csv"
    if not log.exists():
        return {}
    with log.open() as lines:
        rows = [row for row in csv.DictReader(lines) if row.get(figure)]
    if completed:
        del rows[-1:]  # the weights that were kept, once more
    return {str(int(row["epoch"]) + 1): round(float(row[figure]), 5) for row in rows}


def main() -> None:
    """Record every run named on the command line."""
    target, row, *runs = sys.argv[1:]
    for run in runs:
        print(record(Path(target), row, Path(run)))


if __name__ == "__main__":
    main()
