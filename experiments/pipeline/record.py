"""The tables of the page: ``python -m experiments.pipeline.record RESULTS PAGE [NAME=FOLDER …]``.

FOLDER holds ``pipeline_SEED``, as ``lightning-rec pipeline`` wrote them; what is told of them goes
to RESULTS first, a file, under NAME. NAME_few are pipelines of the three retrievers that RecTools
has as well, whose figures are ``rectools/NAME_SEED.json``. ``--check`` says whether the tables of
PAGE are those of RESULTS.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.pages import fill, headed, row
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.lab import compare

TITLES = {
    "ml100k": "MovieLens-100K",
    "ml1m": "MovieLens-1M",
    "beauty": "Beauty",
    "home_depot": "Home Depot",
}
FIGURES = ("test/ndcg@10", "test/recall@10", "test/recall@20")
KEPT = ("figures", "quotas", "recall", "lost", "milliseconds", "before", "audit", "rows")
CARD = (
    *("commit", "dirty", "started", "finished", "cpu_seconds"),
    *("data_hash", "protocol_hash", "machine"),
)
HEADS = ["", "found in its quota", "by it alone", *FIGURES, "ms a query"]
FEW = ["data", "seeds", "the best of the three", "RecTools", "ours", "CPU s: RecTools"]
PAIRED = [
    *("data", "seeds", "best single", "figure"),
    *("pipeline less it", "95 % over users", "p (Holm)"),
]


def told(folder: Path, pairs: bool) -> dict[str, Any]:
    """What is kept of the pipelines of several seeds, and with ``pairs`` how they differ from the
    best single one.
    """
    runs = sorted(each.parent for each in folder.glob("pipeline_*/pipeline.json"))
    seeds = {}
    for run in runs:
        found, card = read_json(run / "pipeline.json"), read_json(run / "run.json")
        kept = {key: found[key] for key in KEPT if key in found}
        kept["figures"] = {
            name: {key: each[key] for key in FIGURES if key in each}
            for name, each in {**found["figures"], "pipeline": found["pipeline"]}.items()
        }
        seed = next(each for each in card["overrides"] if each.startswith("seed="))
        seeds[seed.removeprefix("seed=")] = kept | {key: card.get(key) for key in CARD}
    best = best_single(seeds)
    if not pairs:
        return {"seeds": seeds, "best": best}
    members = [folder / each for each in singles(runs, best)]
    known = [key for key in FIGURES if key in kept["figures"]["pipeline"]]
    compared = compare({best: members, "pipeline": runs}, figures=known, baseline=best)
    columns = ("figure", "units", "difference", "low", "high", "p", "holm")
    paired = compared.paired.select(columns).to_dicts()
    return {"seeds": seeds, "best": best, "paired": paired}


def best_single(seeds: dict[str, Any]) -> str:
    """The retriever that is best by itself, in the mean over seeds."""
    names = [name for name in next(iter(seeds.values()))["figures"] if name != "pipeline"]
    return max(names, key=lambda name: mean_of(seeds, name, FIGURES[0]))


def singles(runs: list[Path], name: str) -> list[str]:
    """Where the runs of a retriever lie that the pipelines were made of, each once."""
    found: dict[str, None] = {}
    for run in runs:
        overrides = [str(each) for each in read_json(run / "run.json")["overrides"]]
        made_of = next(each for each in overrides if each.startswith(f"{name}="))
        found[made_of.partition("=")[2]] = None
    return list(found)


def values(seeds: dict[str, Any], name: str, key: str) -> list[float]:
    """A figure over seeds."""
    return [each["figures"][name][key] for each in seeds.values()]


def mean_of(seeds: dict[str, Any], name: str, key: str) -> float:
    """Its mean."""
    return statistics.fmean(values(seeds, name, key))


def shown(found: list[float]) -> str:
    """Mean and standard deviation, if there is any."""
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    return f"{statistics.fmean(found):.4f}" + (f" ± {spread:.4f}" if spread else "")


def stages(name: str, results: dict[str, Any]) -> str:
    """What each retriever finds, and what comes out at the end, in the mean over seeds."""
    seeds = results[name]["seeds"]
    lines = headed([*HEADS[:3], *(each.removeprefix("test/") for each in FIGURES), HEADS[-1]])
    every = [each["recall"]["test"] for each in seeds.values()]
    time = [each["milliseconds"] for each in seeds.values()]
    for part, quota in next(iter(seeds.values()))["quotas"].items():
        cells = [f"{part} ({quota})", shown([each["found"][part] for each in every])]
        cells.append(shown([each["only"][part] for each in every]))
        cells += [shown(values(seeds, part, key)) for key in FIGURES]
        lines.append(row([*cells, f"{statistics.median(each[part] for each in time):.1f}"]))
    number = statistics.fmean(each["candidates"] for each in every)
    cells = [f"all, ranked ({number:.0f})", shown([each["any"] for each in every]), ""]
    cells += [shown(values(seeds, "pipeline", key)) for key in FIGURES]
    whole = statistics.median(each["all, median"] for each in time)
    lines.append(row([*cells, f"{whole:.1f}"]))
    return "\n".join(lines)


def paired(path: Path) -> str:
    """The pipeline less its best single model, on the same users."""
    lines = headed(PAIRED)
    for name, found in read_json(path).items():
        if name.endswith("_few"):
            continue
        for each in found["paired"]:
            apart = f"[{each['low']:+.4f}, {each['high']:+.4f}]"
            lines.append(
                row(
                    [
                        TITLES[name],
                        str(len(found["seeds"])),
                        found["best"],
                        each["figure"].removeprefix("test/"),
                        f"{each['difference']:+.4f}",
                        apart,
                        "< 0.001" if each["holm"] < 0.001 else f"{each['holm']:.3f}",
                    ]
                )
            )
    return "\n".join(lines)


def few(path: Path) -> str:
    """The three retrievers that RecTools has as well, ranked by it and by the pipeline."""
    lines, key = headed(FEW), FIGURES[0]
    for name, found in read_json(path).items():
        if not name.endswith("_few"):
            continue
        data = name.removesuffix("_few")
        peers = [read_json(each) for each in sorted(path.parent.glob(f"rectools/{data}_*.json"))]
        best = found["best"]
        cells = [TITLES[data], f"{len(peers)}, {len(found['seeds'])}"]
        cells.append(f"{mean_of(found['seeds'], best, key):.4f} ({best})")
        cells.append(shown([each["RecTools"][key] for each in peers]))
        cells.append(shown(values(found["seeds"], "pipeline", key)))
        lines.append(row([*cells, f"{statistics.median(e['seconds']['cpu'] for e in peers):.0f}"]))
    return "\n".join(lines)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for said in [each for each in sys.argv[3:] if each != "--check"]:
        title, _, where = said.partition("=")
        kept = read_json(target) if target.is_file() else {}
        order = [*TITLES, *(f"{each}_few" for each in TITLES)]
        made = kept | {title: told(Path(where), not title.endswith("_few"))}
        write_json(target, {name: made[name] for name in order if name in made})
    known = read_json(target)
    tables = {
        name: (lambda path, name=name: stages(name, read_json(path)))
        for name in known
        if not name.endswith("_few")
    }
    fill({**tables, "paired": paired, "few": few})
