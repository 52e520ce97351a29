"""What going on costs beside training anew: of matching.

``python -m experiments.current.matching RESULTS FOLDER [SEED …]`` trains bi-encoders (LoRA) on the
pairs of the first 1,500 queries of Home Depot below FOLDER, where it goes on if it was stopped, and
writes RESULTS. An earlier run knows the pairs of the first 1,200 queries alone.
"""

import sys
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness.updates import Clock, compared
from lightning_rec.build import problem_of
from lightning_rec.commands.repeating import train_or_resume
from lightning_rec.config import compose
from lightning_rec.data.fetch import cache_dir
from lightning_rec.documents import read_json
from lightning_rec.files import write_json
from lightning_rec.lab.examples import Values
from lightning_rec.lab.gated import Judged, of_queries
from lightning_rec.lab.later import opened
from lightning_rec.runs.provenance import about

OLD, NOW = 1_200, 1_500  # queries
SETTINGS = [
    "data=pairs", "data.query=query", "data.title=title", "data.item=item",
    "data.relevance=relevance", "data.positive_from=2.5", "data.scale=[1,3]",
    "data.name=home_depot_part", "protocol.val=0.1", "protocol.test=0.2", "model=bi_encoder",
    "adapter=lora", "optimizer.lr=0.001", "schedule.warmup=0.1", "schedule.decay=linear",
    "batches.batch_size=64", "batches.eval_batch_size=128", "trainer=cpu", "trainer.max_epochs=2",
    "logger=none", "baseline=null",
]  # fmt: skip
UPDATE = ["method=update", "trainer.max_epochs=2"]
FIGURE = "ndcg@10"


def written(folder: Path) -> dict[int, Path]:
    """Files of the pairs of the first queries, in the order of the log, by how many there are."""
    problem: Any = problem_of(compose(["experiment=search_home_depot"]))
    pairs = problem.load(cache_dir()).data.pairs
    folder.mkdir(parents=True, exist_ok=True)
    items = pairs.items[pairs.item.tolist()]
    table = items.select(
        pl.Series("query", pairs.queries["query"].gather(pairs.query.tolist())),
        "item",
        "title",
        pl.Series("relevance", pairs.relevance),
    )
    found = {number: folder / f"pairs_{number}.csv" for number in (OLD, NOW)}
    for number, path in found.items():
        table.filter(pl.Series(pairs.query < number)).write_csv(path)
    return found


def trained(path: Path, *overrides: str) -> dict[str, Any]:
    """Train a run if it is missing; its pairs and what it cost."""
    kept, clock = path.with_name(f"{path.name}.json"), Clock()
    if not kept.is_file():
        train_or_resume([*SETTINGS, *overrides], path, watch=clock)
        card: dict[str, Any] = read_json(path / "run.json")
        facts = {"pairs": card["split"]["train pairs"], **card.get("begun", {})}
        facts["figures"] = read_json(path / "metrics.json")
        write_json(kept, {"seconds": round(clock.seconds, 2), "cost": card["cost"], **facts})
    found: dict[str, Any] = read_json(kept)
    return found


def judged(new: Path, old: Path) -> Judged:
    """Both asked for the test of the newer one."""
    (run, problem), (older, other) = opened("run", new), opened("against", old)
    return of_queries(run, problem, older, other, FIGURE)  # type: ignore[arg-type]


def measure(folder: Path, seeds: list[int]) -> dict[str, Any]:
    """Train and compare all."""
    files = {number: f"data.path='{path.absolute()}'" for number, path in written(folder).items()}
    runs: dict[str, list[dict[str, Any]]] = {"old": [], "update": [], "anew": []}
    against: list[tuple[Values, Values]] = []
    beside: list[tuple[Values, Values]] = []
    for seed in seeds:
        old, update, anew = (folder / f"{name}_{seed}" for name in runs)
        going_on = [*UPDATE, f"method.run='{old.absolute()}'"]
        before = trained(old, files[OLD], f"seed={seed}")
        del before["seconds"]  # of a run that was gone on with they are not all
        runs["old"].append(before)
        runs["update"].append(trained(update, files[NOW], *going_on, f"seed={seed}"))
        runs["anew"].append(trained(anew, files[NOW], f"seed={seed}"))
        found, whole = judged(update, old), judged(anew, old)
        against.append((found.now, found.before))
        beside.append((found.now, whole.now))
    told = [*compared("update - old", against, found), *compared("update - anew", beside, found)]
    settings = {"settings": SETTINGS, "update": UPDATE, "queries": [OLD, NOW], "seeds": seeds}
    return {**about(), **settings, "figure": FIGURE, "runs": runs, "compared": told}


if __name__ == "__main__":
    write_json(
        Path(sys.argv[1]),
        measure(Path(sys.argv[2]), [int(each) for each in sys.argv[3:]] or [1, 2, 3]),
    )
