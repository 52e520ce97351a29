"""Records of runs: what a table needs of a run, as one JSON that knows its own hash."""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json
from lightning_rec.runs.sweeps import key_of

RECORDED = (
    "seed", "commit", "dirty", "version", "started", "finished", "config_hash", "data_hash",
    "catalogue_hash", "protocol_hash", "language_hash", "environment_hash", "packages", "python",
    "machine", "seconds", "cpu_seconds", "gpu_seconds", "peak_memory_mib", "cost", "overrides",
    "split", "audit", "data", "protocol", "partial",
)  # fmt: skip
HASH = "record_hash"
_FOLDERS = re.compile(r"""(?<=[=\[,'"])/(?:[^/,='"\]]+/)+""")  # of absolute paths


def record(folder: Path) -> dict[str, Any]:
    """What a table needs of a run: figures, seed, commit, hashes, times, and the curve.

    The curve is there where the run logged to a CSV: the monitored figure after each epoch, counted
    from 1. Raises UserError if ``folder`` is no run.
    """
    from lightning_rec.runs.folder import RunFolder  # imports torch

    run = RunFolder.open(folder)
    cfg = read_yaml(folder / "config.yaml")
    kept = {key: run.card[key] for key in RECORDED if run.card.get(key) is not None}
    # Where a run lies says nothing about it.
    kept["overrides"] = [each for each in kept.get("overrides", []) if key_of(each) != "run_dir"]
    return kept | {
        "model": str(cfg["model"]["_target_"]).rpartition(".")[2],
        "metrics": run.metrics if (folder / "metrics.json").exists() else {},
        "status": run.card["status"],
        "monitor": cfg["monitor"],
        "curve": _curve(folder, cfg["monitor"], run.card["status"] == "completed"),
    }


def _curve(folder: Path, figure: str, completed: bool) -> dict[str, float]:
    path = folder / "csv" / "metrics.csv"
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get(figure)]
    if completed:
        del rows[-1:]  # the weights that were kept, measured once more
    return {str(int(row["epoch"]) + 1): round(float(row[figure]), 5) for row in rows}


def sealed(made: Mapping[str, Any]) -> dict[str, Any]:
    """A record to be written: with the hash of all else that it says, by which :func:`read_record`
    knows it. Where the files lay that overrides name stays out of it.
    """
    told = {**made, "overrides": [*map(without_folders, made.get("overrides", []))]}
    return {**told, HASH: _hash_of(told)}


def without_folders(override: str) -> str:
    """An override without the folders of what it names: where files lay says nothing of a run."""
    return _FOLDERS.sub("", override)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record. Those of earlier versions have no hash.

    Raises UserError if it is none, or if it is not as it was written.
    """
    made = read_json(path)
    if not isinstance(made, dict) or not {"seed", "metrics"} <= set(made):
        raise UserError(f"{path} is no JSON of a run: 'seed' and 'metrics' are not both there.")
    if HASH in made and _hash_of(made) != made[HASH]:
        raise UserError(
            f"{path} is not as it was written: what it says has another hash than its {HASH}. "
            "Bring it back from version control, or remove it, and train the run anew."
        )
    return made


def _hash_of(made: Mapping[str, Any]) -> str:
    return sha256_json(json.loads(json.dumps({key: made[key] for key in made if key != HASH})))
