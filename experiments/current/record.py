"""The tables of a page: ``python -m experiments.current.record RESULTS PAGE``.

RESULTS are those of backtests; beside it are those of clicks, ``click_backtests.json``, and what
going on cost, ``clicks.json`` and, of matching, ``matching.json``.

Further FOLDERs are those that ``lightning-rec backtest`` wrote, named DATA_SEED: what is told of
them goes to RESULTS first, a file; of clicks they have ``backtest_FIGURE.json``. ``--check`` says
whether the tables of PAGE are those of RESULTS.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json

TITLES = {
    "ml100k": "MovieLens-100K, every 14 days",
    "latest": "latest-small, every 180 days",
    "ml100k_clicks": "MovieLens-100K, every 14 days",
    "collm_clicks": "CoLLM's MovieLens-1M, every 60 days",
}
CLICKS = "click_backtests.json"
HEADS = ["log", "seed", "targets", "never", "update", "anew", "update - never", "anew - update",
         "a window old - new", "CPU s: update", "CPU s: anew"]  # fmt: skip


def told(folder: Path) -> dict[str, Any]:
    """What is kept of a backtest: its figures, and when and by which commit they were made."""
    if by_figure := sorted(folder.glob("backtest_*.json")):
        named = {path.stem.partition("_")[2]: read_json(path) for path in by_figure}
        return {name: {**found, "runs": len(found["runs"])} for name, found in named.items()}
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


def click_backtests(path: Path) -> str:
    """A line for each figure and seed of the backtests of clicks beside the results."""
    results: dict[str, Any] = read_json(path.with_name(CLICKS))
    lines = headed([HEADS[0], "figure", HEADS[1], "rows", *HEADS[3:]])
    logs = sorted({name.rpartition("_")[0] for name in results}, reverse=True)
    lines_of = [
        (figure, name)
        for log in logs
        for figure in ("auc", "gauc", "logloss")
        for name in sorted(results)
        if name.rpartition("_")[0] == log
    ]
    for figure, name in lines_of:
        found = results[name][figure]
        update, anew = found["compared"]
        means = [f"{each:.4f}" for each in (update["beside"], update["figure"], anew["figure"])]
        later = found["windows"][1:]
        cost = [f"{sum(each['seconds'][way] for each in later):.0f}" for way in ("update", "anew")]
        apart = [interval(each) for each in (update, anew, found["ages"][0])]
        log, _, seed = name.rpartition("_")
        cells = [TITLES[log], figure, seed, f"{update['targets']:,}"]
        lines.append(row([*cells, *means, *apart, *cost]))
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


def matching(path: Path) -> str:
    """What going on cost and brought of matching: ``matching.json`` beside the results."""
    found: dict[str, Any] = read_json(path.with_name("matching.json"))
    runs: dict[str, list[dict[str, Any]]] = found["runs"]
    lines = headed(["test queries", "old", "update", "anew", "update - old", "update - anew"])
    told = {(each["part"], each["compared"]): each for each in found["compared"]}
    for part in ("new", "old"):
        old, anew = (told[part, f"update - {name}"] for name in ("old", "anew"))
        means = [f"{each:.4f}" for each in (old["figures"][1], *anew["figures"])]
        lines.append(row([f"{part}, {old['rows']:,}", *means, interval(old), interval(anew)]))
    seconds = [sum(each["seconds"] for each in runs[name]) for name in ("update", "anew")]
    cells = [f"{each / len(runs['anew']):.0f}" for each in seconds]
    lines.append(row(["CPU s of training", "", *cells, "", ""]))
    return "\n".join(lines)


if __name__ == "__main__":
    said = [each for each in sys.argv[1:] if each != "--check"]
    if folders := [Path(each) for each in said[2:]]:
        for folder in folders:
            of_clicks = any(folder.glob("backtest_*.json"))
            target = Path(said[0]).with_name(CLICKS) if of_clicks else Path(said[0])
            kept: dict[str, Any] = read_json(target) if target.is_file() else {}
            write_json(target, kept | {folder.name: told(folder)})
    tables = {
        **{"rows": table, "clicks": clicks},
        **{"click_backtests": click_backtests, "matching": matching},
    }
    fill(tables)
