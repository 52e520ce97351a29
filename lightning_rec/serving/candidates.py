"""Candidates of a request, ranked by a model of clicks for one row, in its moment."""

from functools import partial
from typing import Any

import polars as pl

from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Rules
from lightning_rec.serving.answering import Row, noted, rows_of
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.opening import Model
from lightning_rec.serving.schemas import RecommendRequest
from lightning_rec.serving.service import Service

Question = tuple[pl.DataFrame, pl.DataFrame, Row | None]


def is_of_clicks(asked: RecommendRequest) -> bool:
    """Whether a request has what only models of clicks are asked."""
    only = (asked.candidates, asked.row, asked.context, asked.goal)
    return any(each is not None for each in only)


def wanted(asked: RecommendRequest) -> int:
    """How many items a request wants: of candidates, where it does not say, as many as it has."""
    if is_of_clicks(asked) and "k" not in asked.model_fields_set:
        return min(asked.k, len(asked.candidates or ()))
    return asked.k


async def of_candidates(
    service: Service, asked: RecommendRequest, rules: Rules | None, model: Model
) -> Row:
    """The ``k`` candidates of a request that its row would most probably click. Raises Refusal."""
    if model.kind != "clicks":
        raise Refusal("cannot_answer", f"{model.predictor.name} ranks no candidates for rows.")
    if asked.history is not None or asked.user is not None or asked.seen is not None:
        raise Refusal("invalid", "Candidates are ranked for a row, not for a history or a user.")
    if not asked.candidates:
        raise Refusal("invalid", "candidates: there are none; say which items are ranked.")
    most = service.settings.rows
    if len(asked.candidates) > most:
        raise Refusal("too_large", f"A request has at most {most:,} candidates.")
    number = len(asked.candidates)
    service.check_k(asked.k, max(asked.k, number), "say 1 or more")
    k = min(asked.k, number)
    row = rows_of([asked.row]) if asked.row else pl.DataFrame()
    question: Question = (row, rows_of(list(asked.candidates)), asked.context)
    group = ("candidates", id(model), k, asked.goal, repr(rules))
    work = partial(ranked, model, k, asked.goal, rules)
    found: Row = await service.ask(group, work, question)
    if k < asked.k and "k" in asked.model_fields_set:
        few = f"There are {number} candidates, fewer than k={asked.k}."
        found = found | {"note": f"{few} {found.get('note', '')}".strip()}
    return found | {"unknown_items": 0, "model": model.version}


def ranked(
    model: Model, k: int, goal: str | None, rules: Rules | None, questions: list[Question]
) -> list[Any]:
    """The answer to each question; see :meth:`ClickPredictor.recommend`."""
    assert isinstance(model.predictor, ClickPredictor)
    answers = []
    for row, items, context in questions:
        told = Told()
        found = model.predictor.recommend(
            row, items, k, context=context, goal=goal, rules=rules, told=told
        )
        notes = None if rules is None else told.notes
        answers.append(noted(found.drop("row").to_dicts(), k, notes))
    return answers
