"""Questions in raw ids, in groups that are computed at once, and answers as plain values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.errors import UserError, listed
from lightning_rec.predict.asking import polars_of
from lightning_rec.predict.batches import lacking
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Rules
from lightning_rec.serving.histories import History, together
from lightning_rec.serving.opening import Model

Row = dict[str, Any]
NONE_KNOWN = "The model knows none of the history's items, so it has nothing to go by."
NEAR = 0.2  # cosine below which no item is a reason for another


def recommended(model: Model, k: int, seen: str | None, histories: list[History]) -> list[Any]:
    """The rows of each history: ``rank``, ``item``, perhaps ``title``, ``score``."""
    predictor = model.predictor
    assert isinstance(predictor, SequencePredictor)
    answers: list[list[Row]] = [[] for _ in histories]
    parts = predictor.lists(together(histories), k, seen)
    found = (np.concatenate([part[place] for part in parts]).tolist() for place in range(4))
    for number, rank, code, score in zip(*found, strict=True):
        row = {"rank": rank, "item": model.items[code]}
        if model.titles is not None:
            row["title"] = model.titles[code]
        answers[number].append(row | {"score": score})
    return answers  # entries of a history come in their order


def unsaid(model: Model, asked: History, unknown: int) -> str:
    """In sentences, or none: that of a history with ``unknown`` items none is known, and what a
    model of sequences reads of events and the request does not say.
    """
    predictor = model.predictor
    assert isinstance(predictor, SequencePredictor)
    told = [NONE_KNOWN] if unknown and not asked.codes else []
    lacks = lacking(predictor.model, predictor.users, asked.times, asked.events, asked.lacks)
    return " ".join(filter(None, [*told, lacks]))


def searched(model: Model, k: int, queries: list[str], *, rules: Rules | None = None) -> list[Any]:
    """The answer to each query; see :meth:`MatchPredictor.recommend`."""
    assert isinstance(model.predictor, MatchPredictor)
    once = list(dict.fromkeys(queries))
    ready = None if rules is None else model.predictor.ready(rules)
    sure: dict[str, Row] = {}
    if model.answering is not None and (ready is None or ready.filters):
        told, found = model.answering.answer(once, k, rules=ready)
        sure = {row.pop("query"): row for row in told.to_dicts()}
    else:
        found = model.predictor.recommend(once, k, rules=ready, told=Told())
    parts = found.partition_by("query", as_dict=True)
    rows = {key[0]: part.drop("query").to_dicts() for key, part in parts.items()}
    notes = None if ready is None else ready.notes
    return [noted(rows.get(query, []), k, notes) | sure.get(query, {}) for query in queries]


def noted(rows: list[Row], k: int, notes: Sequence[str] | None) -> Row:
    """Rows as ``items``, and a ``note`` of what their rules did not do; None: nothing was asked.

    notes: of boosts and lists without effect.
    """
    told = list(notes or ())
    if notes is not None and len(rows) < k:
        told.append(f"{len(rows)} of k={k}: the rules leave no more of what could be found.")
    return {"items": rows} | ({"note": " ".join(told)} if told else {})


def similar(model: Model, k: int, questions: list[list[str]]) -> list[Any]:
    """The rows of each list of items; see :meth:`Predictor.similar`."""
    once = list(dict.fromkeys(item for items in questions for item in items))
    found = model.predictor.similar(once, k).partition_by("item", as_dict=True)
    rows = {key[0]: part.to_dicts() for key, part in found.items()}
    return [[row for item in items for row in rows[item]] for items in questions]


def scored(model: Model, frames: list[pl.DataFrame], *, context: Row | None = None) -> list[Any]:
    """The scores of the rows of each frame, all of one schema; see :meth:`Predictor.score`."""
    rows = pl.concat(frames)
    if context:
        assert isinstance(model.predictor, ClickPredictor)
        whole = model.predictor.score(rows, context)
    else:
        whole = model.predictor.score(rows)
    known = {*frames[0].columns, *(context or ())}
    names = [name for name in whole.columns if name not in known]
    answers, start = [], 0
    for each in frames:
        part = whole.select(names).slice(start, len(each))
        start += len(each)
        answers.append(part.to_dicts())
    return answers


def rows_of(rows: list[Row]) -> pl.DataFrame:
    """Raw rows as a frame, each with the same columns.

    Raises UserError where they are not, or the values of a column do not go together.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    for number, row in enumerate(rows):
        if absent := [name for name in names if name not in row]:
            raise UserError(
                f"Row {number} has no '{absent[0]}', which another row has: write null where it is "
                "empty."
            )
    try:
        made = polars_of({name: [row[name] for row in rows] for name in names})
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise UserError(
            "The values of a column are of one kind: numbers, texts or lists."
        ) from None
    odd = [name for name, kind in made.schema.items() if kind in (pl.Object, pl.Struct)]
    if odd:
        raise UserError(f"The columns {listed(odd)} hold neither numbers, texts nor lists of them.")
    return made


def reasons(model: Model, history: Sequence[int], items: Sequence[int]) -> list[Row | None]:
    """Of each item the nearest of a history, by the cosine of vectors; None if none is near.

    ``history``, ``items``: codes. Each is ``item``, perhaps ``title``, and ``cosine``.
    """
    vectors = model.directions
    if vectors is None or not history:
        return [None for _ in items]
    past = list(dict.fromkeys(history))
    cosines = vectors[list(items)] @ vectors[past].T
    best = cosines.argmax(dim=1).tolist()
    made: list[Row | None] = []
    for row, place in enumerate(best):
        reason: Row = {"item": model.items[past[place]]}
        if model.titles is not None:
            reason["title"] = model.titles[past[place]]
        cosine = float(cosines[row, place])
        made.append(reason | {"cosine": cosine} if cosine >= NEAR else None)
    return made
