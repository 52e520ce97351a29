"""Rules of a request, and the recommendations by them; requests without rules do not come here."""

from typing import Any

import polars as pl

from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Rules
from lightning_rec.serving.answering import Row, noted
from lightning_rec.serving.histories import History, together
from lightning_rec.serving.opening import Model
from lightning_rec.serving.raw_ids import text_of, texts_of
from lightning_rec.serving.schemas import AskedRules


def rules_of(asked: AskedRules | None) -> Rules | None:
    """The rules of a request; None where it says nothing. Raises UserError where they are none.

    Boosts come as rows and lists as lists: no request names a file.
    """
    if asked is None:
        return None
    said = asked.model_dump(exclude_none=True, by_alias=True)
    if not said.get("boosts"):
        said.pop("boosts", None)
        said.pop("at", None)  # which says when boosts hold
    for name in ("allow", "deny"):
        if name in said:
            said[name] = texts_of(said[name])
    for boost in said.get("boosts", ()):
        if "item" in boost:
            boost["item"] = text_of(boost["item"])
    return Rules(**said) if said.keys() - {"seed"} else None


def recommended_by_rules(
    model: Model, k: int, seen: str | None, rules: Rules, asked: list[tuple[str, History]]
) -> list[Any]:
    """The answer to each name and history; names decide what chance gives, see :class:`Rules`."""
    predictor = model.predictor
    assert isinstance(predictor, SequencePredictor)
    names, histories = [name for name, _ in asked], [history for _, history in asked]
    whom = together(histories, pl.Series("user", names, dtype=pl.String))
    answers: list[list[Row]] = [[] for _ in histories]
    ready = predictor.ready(rules)
    for part in predictor.lists(whom, k, seen, ready, Told()):
        columns = (part.row, part.rank, part.item, part.score)
        entries = zip(*(each.tolist() for each in columns), strict=True)
        for place, (number, rank, code, score) in enumerate(entries):
            row = {"rank": rank, "item": model.items[code]}
            if model.titles is not None:
                row["title"] = model.titles[code]
            row["score"] = score
            if part.propensity is not None and rules.explore is not None:
                row["propensity"] = float(part.propensity[place])
            answers[number].append(row)
    ordered = (sorted(each, key=lambda row: row["rank"]) for each in answers)
    pairs = zip(ordered, histories, strict=True)
    return [noted(each, k, ready.notes if history.codes else None) for each, history in pairs]
