"""A model of clicks over candidates: which of them each row would most probably click."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.ids import ids_of
from lightning_rec.data.types import Floats
from lightning_rec.errors import UserError, listed
from lightning_rec.predict.asking import Catalogue, check_k
from lightning_rec.predict.ruled import NOTHING, Lists, plain_lists, ruled_lists
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.exact import Found
from lightning_rec.rules.ready import Ready, made_ready
from lightning_rec.rules.rules import Given

PAIRS = 2**18  # of a row and a candidate that are scored at once

Score = Callable[[pl.DataFrame], Floats]
"""The probability of each of some rows with all columns, float [n]."""


def candidates_of(items: pl.DataFrame, name: str) -> pl.DataFrame:
    """Candidates by their ids in ``name``. Raises UserError for what names none, or two."""
    if name not in items.columns:
        raise UserError(
            f"The candidates have no column '{name}', which names them (data.fields.item of the "
            "run, or 'item' where that is not set). Rename the one that does; there are: "
            f"{listed(items.columns)}."
        )
    if name != "item" and "item" in items.columns:
        raise UserError(f"The candidates are named by '{name}', and have a column 'item' as well.")
    if items.is_empty():
        raise UserError("There are no candidates.")
    if items[name].dtype.is_nested():
        raise UserError(f"The column '{name}' holds lists: a candidate is a number or a text.")
    if items[name].null_count():
        raise UserError(f"A candidate has no '{name}'.")
    if (again := items[name].filter(items[name].is_duplicated())).len():
        raise UserError(f"The candidate {again[0]!r} is there twice.")
    return items


def check_said(features: Sequence[str], rows: pl.DataFrame, items: pl.DataFrame) -> None:
    """Raise UserError for features that neither rows nor candidates have."""
    if absent := [x for x in features if x not in rows.columns and x not in items.columns]:
        raise UserError(
            f"The model reads {listed(absent)}, which neither the rows nor the candidates have: "
            f"say it with each, or once for all of them, context={{{absent[0]}: VALUE}}; an empty "
            "value stands for what is not known."
        )


def ready_for(rules: Given, items: pl.DataFrame, name: str) -> Ready:
    """Rules over candidates. Raises UserError where they do not fit them."""

    def no_vectors() -> Tensor:
        raise UserError(
            "A model of clicks has no vectors to tell what is alike: say by which column, as in "
            "diversity=mmr:0.3@brand."
        )

    def no_events() -> Any:
        raise UserError(
            "explore=thompson asks how many events an item has, which a run of clicks does not "
            "keep: take epsilon or softmax."
        )

    named = items.rename({name: "item"})
    return made_ready(rules, named, Catalogue(named).codes, no_vectors, no_events)


def best_candidates(
    score: Score,
    rows: pl.DataFrame,
    items: pl.DataFrame,
    read: list[str],
    k: int,
    ready: Ready | None,
    told: Told,
) -> pl.DataFrame:
    """The ``k`` candidates with the highest score for each row.

    Args:
        score: of rows with the columns of both.
        rows: without the columns of the candidates.
        items: the candidates, see :func:`candidates_of`, the ids first.
        read: those of their columns that are scored.
        k: how many.
        ready: rules over them.
        told: is added what is to be told.

    Returns:
        ``row`` (its number), ``rank``, ``item``, ``title`` where there are any, ``score``, and
        ``propensity`` where rules explore.
    """
    check_k(k, len(items), "say 1 to {:,}, as many as there are candidates")
    if both := [each for each in rows.columns if each in read]:
        raise UserError(f"The columns {listed(both)} are in the rows and in the candidates.")
    step, number = max(1, PAIRS // len(items)), len(items)
    if not rows.width:
        raise UserError("The rows have none of the columns that the model reads.")
    keys, told_of = _keys(rows), items.rename({items.columns[0]: "item"})
    parts: list[Lists] = []
    for start in range(0, len(rows), step):
        some = rows.slice(start, step)
        pairs = some.join(items.select(read), how="cross", maintain_order="left_right")
        scores = torch.from_numpy(score(pairs).astype(np.float32)).view(len(some), number)
        adjusted = scores if ready is None else ready.adjust(scores, 0, number)

        def top(of: Tensor, most: int, adjusted: Tensor = adjusted) -> Found:
            best = torch.sort(adjusted[of], dim=1, descending=True, stable=True)
            codes = best.indices.masked_fill(best.values == -torch.inf, -1)[:, :most]
            none = of.new_zeros(0)
            return Found(codes, best.values[:, :most], none, none.float(), none)

        if ready is None or not ready.rules.choosing:
            lists = plain_lists(top(torch.arange(len(some)), k))
        else:
            lists = ruled_lists(top, keys[start : start + step], k, number, ready, told)
        parts.append(lists._replace(row=lists.row + start))
    return _shown(parts, rows, told_of, k, told, ready)


def _keys(rows: pl.DataFrame) -> NDArray[np.uint64]:
    """What chance is made of for each row: 42 and "42" are one value, as they are one id."""
    read = []
    for column in rows:
        if column.dtype.is_nested():
            read.append(column.cast(pl.List(pl.String)).list.join("\0"))
        else:
            read.append(ids_of(column.cast(pl.String) if column.dtype == pl.Null else column))
    return pl.DataFrame(read).hash_rows(seed=0).to_numpy()


def _shown(
    parts: list[Lists],
    rows: pl.DataFrame,
    items: pl.DataFrame,
    k: int,
    told: Told,
    ready: Ready | None,
) -> pl.DataFrame:
    drawn = ready is not None and bool(ready.draw)
    parts = [NOTHING, *parts]
    row, rank, item, score = (np.concatenate([part[i] for part in parts]) for i in range(4))
    told.count(np.bincount(row, minlength=len(rows)), np.ones(len(rows), dtype=np.int64), k)
    number = pl.Series("row", np.arange(len(rows), dtype=np.uint32))
    shown = items.with_columns(pl.col("item").cast(pl.String))
    found = Catalogue(shown).ranked(number.gather(row), rank, item, score)
    if drawn:
        chance = [part.propensity for part in parts if part.propensity is not None]
        found = found.with_columns(propensity=pl.Series(np.concatenate(chance)))
    return found.sort("row", "rank")
