"""The questions of a run of matching that it was not trained on, with their right answers."""

from pathlib import Path

import polars as pl

from lightning_rec.build import problem_of
from lightning_rec.data.fetch import cache_dir
from lightning_rec.errors import UserError
from lightning_rec.problems.matching import Matching
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.parts import with_parts


def questions_of(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The relevant pairs of validation, and of the test: ``query``, ``item``, both String.

    Raises UserError where the run is no completed one of matching, or its data are others now.
    """
    run = RunFolder.open(path)
    run.check_completed("--fit")
    problem = problem_of(with_parts(run, run.config))
    if not isinstance(problem, Matching):
        raise UserError(
            f"--fit {path} is a run of task={problem.name}: one of matching has the questions."
        )
    loaded = problem.load(cache_dir())
    if loaded.data_hash != run.card.get("data_hash"):
        raise UserError(f"{path}: its data are others now than those that it was trained on.")
    matches, pairs = loaded.data, loaded.data.pairs
    queries, items = pairs.queries["query"], pairs.items["item"]
    found = []
    for part in ("val", "test"):
        kept = matches.pairs_of(part)
        kept = kept[pairs.positive[kept]]
        found.append(
            pl.DataFrame(
                {"query": queries.gather(pairs.query[kept]), "item": items.gather(pairs.item[kept])}
            )
        )
    if found[0].is_empty():
        raise UserError(f"{path} has no questions of validation: train with protocol.val=0.1.")
    return found[0], found[1]
