"""The tables of a page: ``python -m experiments.current.record RESULTS PAGE``.

RESULTS are those of backtests; what going on cost of clicks is in ``clicks.json`` beside it.

Further FOLDERs are those that ``lightning-rec backtest`` wrote, named DATA_SEED: what is told of
them goes to RESULTS first, a file. ``--check`` says whether the table of PAGE is that of RESULTS.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json

TITLES = {"ml100k": "MovieLens-100K, every 14 days", "latest": "latest-small, every 180 days"}
HEADS = ["log", "seed", "targets", "never", "update", "anew", "update - never", "anew - update",
         "a window old - new", "CPU s: update", "CPU s: anew"]  # fmt: skip


def told(folder: Path) -> dict[str, Any]:
    """What is kept of a backtest: its figures, and when and by which commit they were made."""
    found: dict[str, Any] = read_json(folder / "backtest.json")
    del found["runs"]
    card: dict[str, Any] = read_json(folder / "anew_1" / "run.json")
    facts = {key: card[key] for key in ("commit", "dirty", "started", "data_hash", "machine")}
    return {**found, **facts}


def interval(each: dict[str, Any]) -> str:
    """A difference with its interval."""
    return f"{each['difference']:+.4f} [{each['low']:+.4f}, {each['high']:+.4f}]"


def table(path: Path) -> str:
    """A line for each backtest: means over the targets of all windows but the first."""
    results: dict[str, Any] = read_json(path)
    lines = headed(HEADS)
    for name, found in sorted(results.items()):
        data, _, seed = name.rpartition("_")
        later = found["windows"][1:]
        targets = sum(each["targets"] for each in later)
        means = [
            f"{sum(each['targets'] * each['figures'][way] for each in later) / targets:.4f}"
            for way in ("never", "update", "anew")
        ]
        compared = {each["way"]: each for each in found["compared"]}
        cost = [f"{sum(each['seconds'][way] for each in later):.0f}" for way in ("update", "anew")]
        apart = [interval(compared[way]) for way in ("update", "anew")]
        lines.append(
            row(
                [
                    TITLES[data],
                    seed,
                    f"{targets:,}",
                    *means,
                    *apart,
                    interval(found["ages"][0]),
                    *cost,
                ]
            )
        )
    return "\n".join(lines)


def clicks(path: Path) -> str:
    """What going on cost and brought, over how much was new: ``clicks.json`` beside the results."""
    found: dict[str, Any] = read_json(path.with_name("clicks.json"))
    runs: dict[str, list[dict[str, Any]]] = found["runs"]
    lines = headed(["new rows", "test rows", "old", "update", "anew", "update - old",
                    "update - anew", "CPU s: update", "CPU s: anew"])  # fmt: skip
    told = {(each["share"], each["part"], each["compared"]): each for each in found["compared"]}
    cost = {name: sum(each["seconds"] for each in of) / len(of) for name, of in runs.items()}
    for share, part in dict.fromkeys((each["share"], each["part"]) for each in found["compared"]):
        old, anew = (told[share, part, f"update - {name}"] for name in ("old", "anew"))
        means = [f"{each:.4f}" for each in (old["figures"][1], *anew["figures"])]
        seconds = [f"{cost[name]:.1f}" for name in (f"update {share}", "anew")]
        what = f"{part}, {old['rows']:,} of {old['users']:,} users"
        lines.append(row([f"{share} %", what, *means, interval(old), interval(anew), *seconds]))
    return "\n".join(lines)


if __name__ == "__main__":
    said = [each for each in sys.argv[1:] if each != "--check"]
    if folders := [Path(each) for each in said[2:]]:
        kept: dict[str, Any] = read_json(Path(said[0])) if Path(said[0]).is_file() else {}
        write_json(Path(said[0]), kept | {folder.name: told(folder) for folder in folders})
    fill({"rows": table, "clicks": clicks})
