"""What a run of matching of an earlier state of the pairs has learnt, beside what there is now.

Both sides are known by their texts, so that weights go on as they are, and new items are read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from lightning_rec.data.core.audited import Audited
from lightning_rec.data.matching.pairs import normalised
from lightning_rec.data.matching.splits import Matches
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.methods.update import Before
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.problems.updating import FEW, check_alike
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder

ALIKE = ("model", "adapter")  # parts of the config that decide the weights
PAIRS = {"query": pl.String, "item": pl.String}


def trained_of(loaded: Audited[Matches]) -> pl.DataFrame:
    """``query``, in small letters and single blanks, and ``item`` of each training pair."""
    pairs = loaded.data.pairs
    at = loaded.data.pairs_of("train")
    query, item = pairs.query[at].tolist(), pairs.item[at].tolist()
    asked = pairs.queries.select(normalised(pl.col("query"))).to_series().gather(query)
    return pl.DataFrame({"query": asked, "item": pairs.items["item"].gather(item)})


def learnt_of(run: RunFolder) -> pl.DataFrame:
    """What :func:`trained_of` of a run told. Raises UserError if the run does not say it."""
    if not (run.path / f"{TRAINED}.parquet").is_file():
        raise UserError(
            f"{run.path} does not say what it was trained on: it was made by an earlier version. "
            "Train it again."
        )
    table = run.table(TRAINED)
    if dict(table.schema) != PAIRS or table.null_count().sum_horizontal()[0]:
        raise UserError(f"{run.path / TRAINED}.parquet is not as a run writes it: train it again.")
    return table


def learnt_queries(run: RunFolder) -> pl.Series:
    """The queries that a run was trained on, each once."""
    return learnt_of(run)["query"].unique()


def before(cfg: Any, loaded: Audited[Matches], folder: str, model: nn.Module) -> Before:
    """What the run in ``folder`` knew; ``model``: the one of ``cfg``. Raises UserError if it is of
    another model or other pairs, learns nothing, or has learnt queries of this test.
    """
    run = RunFolder.open(Path(folder))
    check_alike(cfg, run, ALIKE)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(
            f"method.run={folder}: {type(model).__name__} has no weights that are trained, and so "
            "nothing to go on with: it reads the texts of now as it is; leave out from=."
        )
    learnt, now = learnt_of(run), trained_of(loaded)
    was = _among(now, learnt)
    if int(was.sum()) < FEW * len(learnt):
        raise UserError(
            f"method.run={folder} was trained on {len(learnt):,} pairs, of which this training has "
            f"{int(was.sum()):,}: give all pairs there are now, not the new ones alone."
        )
    queries, pairs = learnt["query"].unique().implode(), loaded.data.pairs
    asked = pairs.queries.select(normalised(pl.col("query"))).to_series()
    test = asked.gather(loaded.data.test.tolist())
    if old := int(test.is_in(queries).sum()):
        raise UserError(
            f"{old:,} of {len(test):,} queries of test are among those that {run.path} has learnt: "
            "add pairs at the end of the file, so that queries keep their place, or give a test of "
            "its own."
        )
    arrived = {
        f"new {what}": int((~now[of].unique().is_in(learnt[of].implode())).sum())
        for what, of in (("queries", "query"), ("items", "item"))
    }
    nothing: dict[str, Ints] = {}
    return Before(
        weights.found(run.path), {}, nothing, {}, arrived, was.astype(np.int64),
        lambda k: np.zeros((0, k), dtype=np.int64), tuned=True,
    )  # fmt: skip


def _among(now: pl.DataFrame, learnt: pl.DataFrame) -> Any:
    """Which pairs of now were learnt: bool [n]."""
    known = learnt.unique().with_columns(was=True)
    joined = now.join(known, ["query", "item"], "left", maintain_order="left")
    return joined["was"].fill_null(False).to_numpy()
