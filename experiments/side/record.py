"""What is known of events, users and items beside ids adds to SASRec: figures, paired differences.

``python -m experiments.side.record results.json README.md [FOLDER UNFINISHED]``: FOLDER has runs of
MovieLens-100K, ``ids_SEED`` beside ``events_SEED``, …; UNFINISHED those of MovieLens-1M.
``--check`` says whether the tables are those of results.json.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.lab.paired import paired
from lightning_rec.lab.records import record

FIGURES = ("test/ndcg@10", "test/recall@10")
TITLES = {
    "ids": "ids alone",
    "events": "`task.events=[rating,gap]`",
    "users": "`task.users=[age,gender,occupation]`",
    "all": "`task.events=[rating,gap,hour,weekday] task.users=[age,gender,occupation]`",
}
UNFINISHED = {"ids": "ids alone", "full": "as `data schema` wrote it: genres, three of users"}
KEPT = (
    "seed", "commit", "dirty", "version", "data_hash", "protocol_hash", "environment_hash",
    "packages", "python", "cpu_seconds", "overrides", "metrics", "curve", "status",
)  # fmt: skip


def told(folder: Path, names: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Records of the runs of each setting."""
    found = {name: [record(run) for run in sorted(folder.glob(f"{name}_*"))] for name in names}
    return {
        name: [{key: each[key] for key in KEPT if key in each} for each in of]
        for name, of in found.items()
    }


def differences(folder: Path) -> dict[str, Any]:
    """Each setting minus ids alone, over the users of the test."""
    runs = {name: sorted(folder.glob(f"{name}_*")) for name in TITLES}
    made: dict[str, Any] = {}
    for name, of in runs.items():
        for figure in FIGURES if name != "ids" else ():
            found = paired(of, runs["ids"], figure)
            made.setdefault(name, {})[figure] = None if found is None else asdict(found)
    return made


def figures(path: Path) -> str:
    """Figures of the settings, and the differences with their intervals."""
    found: dict[str, Any] = read_json(path)
    heads = [each for figure in FIGURES for each in (figure, "minus ids alone [95 %]")]
    lines = headed(["read", *heads, "seeds", "CPU seconds a seed"])
    for name, title in TITLES.items():
        of, cells = found["runs"][name], []
        for figure in FIGURES:
            cells.append(f"{sum(each['metrics'][figure] for each in of) / len(of):.4f}")
            apart = found["differences"].get(name, {}).get(figure)
            span = f"[{apart['low']:+.4f}, {apart['high']:+.4f}]" if apart else ""
            cells.append(f"{apart['difference']:+.4f} {span}" if apart else "")
        seconds = sum(each["cpu_seconds"] for each in of) / len(of)
        lines.append(row([title, *cells, str(len(of)), f"{seconds:.0f}"]))
    return "\n".join(lines)


def unfinished(path: Path) -> str:
    """Validation of runs that were stopped, at the epochs that both reached."""
    found: dict[str, Any] = read_json(path)["unfinished"]
    curves = {name: found[name][0]["curve"] for name in UNFINISHED}
    epochs = [each for each in curves["ids"] if all(each in of for of in curves.values())]
    lines = headed(["read", *(f"epoch {each}" for each in epochs)])
    for name, title in UNFINISHED.items():
        lines.append(row([title, *(f"{curves[name][each]:.4f}" for each in epochs)]))
    return "\n".join(lines)


if __name__ == "__main__":
    said = [each for each in sys.argv[1:] if each != "--check"]
    if len(said) > 2:
        runs, stopped = Path(said[2]), Path(said[3])
        parts = {"runs": told(runs, TITLES), "differences": differences(runs)}
        write_json(Path(said[0]), parts | {"unfinished": told(stopped, UNFINISHED)})
    fill({"figures": figures, "unfinished": unfinished})
