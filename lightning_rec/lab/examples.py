"""Figures of single examples of the test (users, queries, rows), as a run folder keeps them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.figures import parse, shipped

# Tables of a run with a line per example, and the column that says whose it is.
TABLES = {"test_users": "user", "test_queries": "query", "test_rows": "row", "test_texts": "text"}
UNITS = {
    "test_users": "users",
    "test_queries": "queries",
    "test_rows": "rows",
    "test_texts": "texts",
}


class Values(NamedTuple):
    """A figure of each example of a run's test.

    what: name of its table.  key: [n], the id of the user, query or row that an example is of.
    unit: int64 [n], the number of that id, from 0.  value: float64 [n], NaN where the figure is not
    defined.  label: bool [n] of rows of clicks whose figure is an area under a curve; ``value`` is
    the score then.
    """

    what: str
    key: pl.Series
    unit: NDArray[np.int64]
    value: NDArray[np.float64]
    label: NDArray[np.bool_] | None = None

    def within(self, inside: NDArray[np.bool_]) -> "Values":
        """Those of some of the examples, bool [n]."""
        label = None if self.label is None else self.label[inside]
        key = self.key.filter(pl.Series(inside))
        return Values(self.what, key, self.unit[inside], self.value[inside], label)


def of_runs(runs: Sequence[Path], figure: str) -> list[Values] | None:
    """:func:`of_examples` of each run; None unless all of them keep values."""
    found = [of_examples(run, figure) for run in runs]
    kept = [each for each in found if each is not None]
    return kept if kept and len(kept) == len(found) else None


def of_examples(run: Path, figure: str) -> Values | None:
    """Values of ``figure``, such as ``test/ndcg@10``, by example; None where none are kept.

    A mean over examples is kept for each of them: metrics of full rankings, of queries, logloss,
    metrics of the user's own. So is what the AUC of clicks is made of.

    Raises UserError if the table of the run is broken.
    """
    from lightning_rec.runs.folder import RunFolder  # imports torch

    name = parse(figure)
    folder = RunFolder(run)
    found = [each for each in TABLES if (run / f"{each}.parquet").is_file()]
    if name.stage != "test" or name.slice or name.sampled or name.model or not found:
        return None
    table, key = folder.table(found[0]), TABLES[found[0]]
    unit = table[key].rank("dense").to_numpy().astype(np.int64) - 1
    own = str(name._replace(stage="", goal="", partial=False))
    end = f"_{name.goal}" if name.goal else ""
    if (column := f"{own}{end}") in table.columns:
        values = table[column].cast(pl.Float64).fill_null(np.nan).to_numpy()
        return Values(found[0], table[key], unit, values)
    if "rank" in table.columns and (value := ranked(table, name.figure, name.k)) is not None:
        return Values(found[0], table[key], unit, value)
    if f"probability{end}" in table.columns and name.figure in ("auc", "logloss"):
        label = table[f"label{end}"].to_numpy() > 0
        score = table[f"probability{end}"].cast(pl.Float64).to_numpy()
        if name.figure == "auc":
            return Values(found[0], table[key], unit, score, label)
        right = np.where(label, score, 1 - score)
        if (right > 0).all():  # the loss of a probability that was rounded to 0 is not known
            return Values(found[0], table[key], unit, -np.log(right))
    return None


def even(values: NDArray[np.float64], *of: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values`` without what rounding left of them: to 1e-12 of the largest in ``of``.

    Means over seeds of equal values in another order differ in the last bit, which a test of ranks
    would take for a difference.
    """
    largest = max(np.abs(each).max(initial=0.0, where=np.isfinite(each)) for each in of)
    return np.round(values / largest, 12) * largest if largest > 0 else values


def ranked(table: pl.DataFrame, figure: str, k: int | None) -> NDArray[np.float64] | None:
    """A metric of the rank of the only target of each example, float64 [n]; None: no such one."""
    import torch

    from lightning_rec.metrics.measure import measures
    from lightning_rec.metrics.targets import SingleTargets

    rank, candidates = (
        torch.tensor(table[name].fill_null(0).to_list()) for name in ("rank", "candidates")
    )
    targets = SingleTargets(torch.arange(len(rank)), rank, candidates=candidates)
    for each in measures(shipped("ranking"), {"ranking": SingleTargets}):
        if each.figure.full == figure and each.cut == (k is not None):
            return next(iter(each.values(targets, (k or 0,)).values())).numpy()
    return None
