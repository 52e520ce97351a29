"""A run of sequences, asked for the targets of the test of another one on a later log."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.build import load_run, problem_of
from lightning_rec.data.batches import asked_at, seconds, times_of
from lightning_rec.data.pipeline import AuditedLog
from lightning_rec.data.split import Examples, ranges
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.figures import Name, parse
from lightning_rec.lab.examples import Values, ranked
from lightning_rec.predict.asking import Asked
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.problems.base import Problem
from lightning_rec.problems.sequence_tables import described_items
from lightning_rec.problems.updating import old_events, places, trained
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.parts import with_parts

BLOCK = 2048  # examples that are asked for at once


@dataclass(frozen=True)
class Codes:
    """Codes of a run for items and users of a split, -1 for what it does not know: int64."""

    item: Ints
    user: Ints


def opened(key: str, path: Path) -> tuple[RunFolder, Problem[Any]]:
    """A completed run, with its problem. Raises UserError for what is none."""
    run = RunFolder.open(path)
    run.check_completed(key)
    return run, problem_of(with_parts(run, run.config))


def codes_of(loaded: AuditedLog, run: RunFolder) -> Codes:
    """What another run knows of a split. Raises UserError if it has learnt a target of its test."""
    split, kept = loaded.data.split, trained(run)
    item = places(described_items(loaded)["item"], run.table("items").sort("code")["item"])
    user = places(loaded.data.log.users["user"], kept["user"])
    user[(kept["items"].list.len() == 0).to_numpy()[user]] = -1
    if (user < 0).all() or (item < 0).all():
        raise UserError(f"{run.path} knows none of the users, or none of the items, of this log.")
    old_events(run, kept, split, user)
    return Codes(item, user)


def own_codes(loaded: AuditedLog) -> Codes:
    """What the run of a split itself knows: all."""
    split = loaded.data.split
    return Codes(np.arange(split.num_items), np.arange(split.num_users))


def figure_name(figure: str) -> Name:
    """A metric of ranking at a cut-off, as ``ndcg@10``. Raises UserError for another."""
    name = parse(f"test/{figure}")
    if name.k is None:
        raise UserError(f"figure={figure}: it has a cut-off, such as ndcg@10.")
    return name


def values_of(run: RunFolder, loaded: AuditedLog, codes: Codes, figure: str) -> Values:
    """A figure of each target of the test of ``loaded``, by the lists that ``run`` would show:
    with the items that it knows, for histories of these. Raises UserError for another figure.
    """
    name, model = figure_name(figure), load_run(run.path)
    assert isinstance(model, SequencePredictor)
    assert name.k is not None
    test = loaded.data.split.test
    table = pl.DataFrame(
        {
            "user": loaded.data.log.users["user"].gather(np.asarray(test.user).tolist()),
            "rank": _ranks(model, loaded, codes, name.k),
            "candidates": np.full(test.size, loaded.data.split.num_items),
        }
    )
    value = ranked(table, name.figure, name.k)
    if value is None:
        raise UserError(f"figure={figure}: it is no metric of the rank of a target.")
    unit = table["user"].rank("dense").to_numpy().astype(np.int64) - 1
    return Values("test_users", table["user"], unit, value)


def _ranks(model: SequencePredictor, loaded: AuditedLog, codes: Codes, k: int) -> pl.Series:
    """The rank of each target of the test, null below ``k``."""
    if model.model.side is not None:
        raise UserError(
            f"{model.name} reads columns of events or users (task.events, task.users), which later "
            "events are not given with here: compare runs by 'lightning-rec compare'."
        )
    split = loaded.data.split
    test: Examples = split.test
    k, start = min(k, len(model.items)), split.offsets[:-1][test.user]
    rank, times = np.zeros(test.size, dtype=np.int64), times_of(split)
    asks = None if times is None else times[asked_at(split, test)]
    for first in range(0, test.size, BLOCK):
        some = np.arange(first, min(first + BLOCK, test.size))
        row, at = ranges(start[some], np.asarray(test.end)[some])
        item = codes.item[np.asarray(split.items)[at]]
        known = item >= 0
        lengths = np.bincount(row[known], minlength=len(some))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        user = codes.user[np.asarray(test.user)[some]]
        asked = Asked(pl.Series("row", some), item[known].astype(np.int32), offsets, user)
        if times is not None and asks is not None:
            asked = asked._replace(times=seconds(times[at][known]), at=seconds(asks[some]))
        wanted = np.asarray(test.target)[some]
        wanted = np.where(wanted >= 0, codes.item[wanted], -1)
        for each in model.lists(asked, k):
            hit = each.item == wanted[each.row]
            rank[some[each.row[hit]]] = each.rank[hit]
    return pl.Series(rank).set(pl.Series(rank == 0), None)
