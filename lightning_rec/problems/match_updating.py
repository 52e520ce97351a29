"""What a run of matching of an earlier state of the pairs has learnt, beside what there is now.

Both sides are known by their texts, so that weights go on as they are, and new items are read.
"""

import logging
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from lightning_rec.data.core.audited import Audited
from lightning_rec.data.matching.pairs import normalised
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.methods.update import Before
from lightning_rec.problems.sequence_tables import TRAINED
from lightning_rec.problems.updating import FEW, check_alike
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder

log = logging.getLogger(__name__)

LEAST_STEP = 10_000  # of a share that is proposed: four places
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


def before(
    cfg: Any, loaded: Audited[Matches], folder: str, model: nn.Module, protocol: ByQuery
) -> Before:
    """What the run in ``folder`` knew; ``model``, ``protocol``: those of ``cfg``. Raises UserError
    if it is of another model or other pairs, learns nothing, or has learnt queries of this test.
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
    _check_held_out(run, loaded.data, learnt["query"].unique(), protocol)
    arrived = {
        f"new {what}": int((~now[of].unique().is_in(learnt[of].implode())).sum())
        for what, of in (("queries", "query"), ("items", "item"))
    }
    nothing: dict[str, Ints] = {}
    return Before(
        weights.found(run.path), {}, nothing, {}, arrived, was.astype(np.int64),
        lambda k: np.zeros((0, k), dtype=np.int64), tuned=True,
    )  # fmt: skip


def _check_held_out(run: RunFolder, matches: Matches, learnt: pl.Series, protocol: ByQuery) -> None:
    """Raise UserError if a query of the test is ``learnt``, saying what to do; tell of validation.

    The test are the first queries in an order that depends on their places. As there are more of
    them its end moves by some, and may reach what was trained on.
    """
    asked = matches.pairs.queries.select(normalised(pl.col("query"))).to_series()
    known = asked.is_in(learnt.implode()).to_numpy()
    if old := int(known[matches.test].sum()):
        clean = int(np.argmax(known[protocol.order(len(known))]))  # how many come before the first
        share = floor(LEAST_STEP * clean / len(known)) / LEAST_STEP
        raise UserError(
            f"{old:,} of {len(matches.test):,} queries of test are among those that {run.path} has "
            "learnt. "
            + (
                "Queries are dealt by their place in the file, and the test ends elsewhere among "
                f"more of them: with protocol.test={share:g} none of them is."
                if share >= protocol.test / 2
                else "Queries are dealt by their place in the file: add pairs at its end, so that "
                "the earlier ones keep theirs."
            )
        )
    if old := int(known[matches.val].sum()):
        log.warning(
            "%s of %s queries of validation are among those that %s has learnt: figures of "
            "validation are too good, and choose the epoch.",
            f"{old:,}", f"{len(matches.val):,}", run.path,
        )  # fmt: skip


def _among(now: pl.DataFrame, learnt: pl.DataFrame) -> Any:
    """Which pairs of now were learnt: bool [n]."""
    known = learnt.unique().with_columns(was=True)
    joined = now.join(known, ["query", "item"], "left", maintain_order="left")
    return joined["was"].fill_null(False).to_numpy()
