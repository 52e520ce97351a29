"""The tables of a page from forecasts: ``python -m experiments.forecast.record RESULTS PAGE``.

Further FOLDERs are those that ``lightning-rec forecast`` wrote, named LOG_SEED: what is told of
them goes to RESULTS first, a file. ``--check`` says whether the tables of PAGE are of RESULTS.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json

TITLES = {"ml100k": "MovieLens-100K, weeks", "early": "MovieLens-100K, until 22 February",
          "latest": "latest-small, months"}  # fmt: skip
HEADS = ["log", "model", "seed", "MASE", "RMSSE", "WAPE", "bias", "pinball", "in 80 %", "service",
         "pinball - ses"]  # fmt: skip
SUMS = ["log", "model", "seed", "category WAPE", "in 80 %", "all: WAPE", "in 80 %"]


def told(folder: Path) -> dict[str, Any]:
    """What is kept of a forecast: all but where its data lay."""
    found: dict[str, Any] = read_json(folder / "forecast.json")
    del found["overrides"]
    return found


def rows(path: Path) -> list[tuple[str, str, str, dict[tuple[str, str], dict[str, Any]]]]:
    """Log, model, seed, and its figures by level and name; local models of the first seed alone."""
    results: dict[str, Any] = read_json(path)
    found = []
    for name, result in sorted(results.items()):
        log, _, seed = name.rpartition("_")
        for model in result["asked"]["models"]:
            if model == "neural" or seed == "1":
                own = {(each["level"], each["figure"]): each for each in result["figures"]
                       if each["model"] == model}  # fmt: skip
                found.append((log, model, seed, own))
    order = list(TITLES)
    return sorted(found, key=lambda each: (order.index(each[0]), each[1] == "neural"))


def items(path: Path) -> str:
    """Figures over items, and the difference to exponential smoothing with its interval."""
    lines = headed(HEADS)
    for log, model, seed, own in rows(path):
        figures = [own["item", name]["value"] for name in (
            "mase", "rmsse", "wape", "bias", "pinball", "coverage", "served")]  # fmt: skip
        loss = own["item", "pinball"]
        apart = "" if loss["difference"] is None else (
            f"{loss['difference']:+.3f} [{loss['difference_low']:+.3f}, "
            f"{loss['difference_high']:+.3f}]"
        )  # fmt: skip
        cells = [f"{each:.3f}" for each in figures]
        lines.append(row([TITLES[log], model, seed if model == "neural" else "", *cells, apart]))
    return "\n".join(lines)


def sums(path: Path) -> str:
    """Figures of categories and of all items."""
    lines = headed(SUMS)
    for log, model, seed, own in rows(path):
        keys = [(level, name) for level in ("category", "total") for name in ("wape", "coverage")]
        cells = [f"{own[key]['value']:.3f}" for key in keys]
        lines.append(row([TITLES[log], model, seed if model == "neural" else "", *cells]))
    return "\n".join(lines)


if __name__ == "__main__":
    said = [each for each in sys.argv[1:] if each != "--check"]
    if folders := [Path(each) for each in said[2:]]:
        kept: dict[str, Any] = read_json(Path(said[0])) if Path(said[0]).is_file() else {}
        write_json(Path(said[0]), kept | {folder.name: told(folder) for folder in folders})
    fill({"items": items, "sums": sums})
