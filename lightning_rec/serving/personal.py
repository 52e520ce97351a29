"""Searches in the order of one user: what a server has beside its model of matching for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.answers.personal import AMONG, PersonalSearch
from lightning_rec.answers.personal_fit import read_weight
from lightning_rec.bundle import identity_of
from lightning_rec.errors import UserError
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Rules
from lightning_rec.serving.answering import noted
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.histories import History, together
from lightning_rec.serving.opening import Model, open_served
from lightning_rec.serving.raw_ids import Id
from lightning_rec.serving.schemas import Item
from lightning_rec.serving.sessions import Sessions
from lightning_rec.serving.settings import Settings
from lightning_rec.serving.whom import of_items, of_searcher, user_of

NO_TASTE = (
    "This server knows no taste, so it has one order for all: it is started with taste=FOLDER (a "
    "model of sequences) and weight=."
)


@dataclass(frozen=True)
class Personal:
    """``taste``: the model of sequences.  ``search``: relevance and taste in one score."""

    taste: Model
    search: PersonalSearch

    async def whom(
        self, sessions: Sessions, user: Id | None, history: Sequence[Item] | None, most: int
    ) -> tuple[str, History, int]:
        """Whose order a search is in: name, history, and how many of its items are unknown.

        ``most``: items of a history. Raises Refusal.
        """
        if user is not None and history is not None:
            raise Refusal("invalid", "Say whom it is for: either history or user.")
        if history is not None:
            return "0", *of_items(self.taste, history, most)
        name = user_of(user)
        return name, *of_searcher(self.taste, name, await sessions.read(name))

    def answered(
        self,
        k: int,
        seen: str,
        rules: Rules | None,
        asked: list[tuple[str, str, History]],
    ) -> list[Any]:
        """The answer to each query, name and history; see :meth:`PersonalSearch.recommend`.

        It has a ``note`` where taste had no part, and of what the rules did not do.
        """
        queries, names, histories = zip(*asked, strict=True)
        whom = together(histories, pl.Series("user", names, dtype=pl.String))
        ready = None if rules is None else self.search.matching.ready(rules)
        texts = pl.Series("query", queries, dtype=pl.String)
        found = self.search.ordered(texts, whom, k, seen, ready, Told())
        if rules is None or rules.explore is None:
            found = found.drop("propensity", strict=False)
        rows: list[list[Any]] = [[] for _ in asked]
        for row in found.drop("query", "user").iter_rows(named=True):
            rows[row.pop("place")].append(row)
        notes = None if ready is None else ready.notes
        answers = [noted(each, k, notes) for each in rows]
        who = self.taste.predictor.name
        alone = f"{who} knows nothing of whom this is for: it is by relevance alone."
        for answer, history in zip(answers, histories, strict=True):
            if not history.codes:
                answer["note"] = " ".join([alone, *([answer["note"]] if "note" in answer else [])])
        return answers


def open_personal(settings: Settings, model: Model) -> Personal | None:
    """What ``taste=`` and ``weight=`` name, over a model of matching; None where they do not.

    Raises UserError where they name no such thing, or one that does not go with the model.
    """
    if settings.taste is None or settings.weight is None:
        return None
    if not isinstance(model.predictor, MatchPredictor):
        raise UserError(
            f"taste= is of searches, and model={settings.model} is one of {model.kind}."
        )
    taste = open_served(settings.taste, "taste")
    if not isinstance(taste.predictor, SequencePredictor):
        raise UserError(f"taste={settings.taste} is a model of {taste.kind}: one of sequences.")
    among, path = AMONG, Path(settings.weight)
    if path.is_file():
        folders = settings.model.resolve(), settings.taste.resolve()
        weight, among = read_weight(path, *map(identity_of, folders))
    else:
        try:
            weight = float(settings.weight)
        except ValueError:
            raise UserError(
                f"weight={settings.weight} is neither a file nor a number from 0 to 1."
            ) from None
    return Personal(taste, PersonalSearch(model.predictor, taste.predictor, weight, among))
