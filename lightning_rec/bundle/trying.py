"""What opens is asked before it serves: a new bundle what its run is asked, any model a little."""

from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PanicException
from polars.testing import assert_frame_equal

from lightning_rec.errors import UserError
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.clicks import ClickPredictor
from lightning_rec.predict.matching import MatchPredictor
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.streams import quiet

TRIED, FEW = 50, 5  # users, items, queries or rows


def check(run: Predictor, bundle: Predictor) -> None:
    """Raise UserError unless the bundle answers as the run does, for some of what it knows.

    Every item is scored: what an index misses is told by its recall.
    """
    for each in (run, bundle):
        each.use_index("exact")
    answers = [_asked(each, bundle, TRIED) for each in (run, bundle)]
    for ours, theirs in zip(*answers, strict=True):
        try:
            assert_frame_equal(ours, theirs, check_exact=False, rel_tol=1e-4, abs_tol=1e-5)
        except AssertionError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"The bundle does not answer as its run does ({reason}): please report this. "
                "Nothing was written."
            ) from None


def answers(predictor: Predictor) -> None:
    """Raise UserError unless a model of any kind answers some of what it knows, by numbers."""
    try:
        with quiet("lightning_rec.language.tokens"):  # titles may have no word of a language model
            found = _asked(predictor, predictor, FEW, "keep")
    except UserError:
        raise
    except (Exception, PanicException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(f"{predictor.name} cannot answer: {reason}") from error
    if found and not sum(map(len, found)):
        raise UserError(f"{predictor.name} finds nothing for what it knows.")
    for each in found:
        scores = each.select(pl.col("^score.*$").cast(pl.Float64)).to_numpy()
        if not np.isfinite(scores).all():
            raise UserError(f"{predictor.name} answers with scores that are no numbers.")


def _asked(
    predictor: Predictor, bundle: Predictor, number: int, seen: str | None = None
) -> list[pl.DataFrame]:
    """Answers to what a bundle can be asked, for some of what it knows."""
    if isinstance(predictor, SequencePredictor):
        assert isinstance(bundle, SequencePredictor)
        items = predictor.items["item"].head(number)
        rows = pl.DataFrame({"user": items, "item": items})
        asked: dict[str, Any] = {"k": min(10, len(items)), "seen": seen}
        if len(known := bundle.known_users["user"].head(number)):
            return [predictor.recommend(users=known.to_list(), **asked)]
        if getattr(predictor.model, "needs_users", False):
            return []
        return [predictor.recommend(rows, **asked)]
    if isinstance(predictor, MatchPredictor):
        titles = predictor.catalogue.items["title"].drop_nulls().head(number).to_list()
        return [predictor.recommend([each for each in titles if each.strip()], k=1)]
    assert isinstance(predictor, ClickPredictor)
    return [predictor.score(rows_of(predictor).head(number))]


def rows_of(predictor: ClickPredictor) -> pl.DataFrame:
    """Rows of values that training had, each in turn, and in each second row none of a list."""
    fields, of = predictor.processor.fields, predictor.processor.vocabulary
    made, number = dict[str, pl.Series](), pl.Series(range(TRIED))
    for name in fields.features:
        known = of.filter(pl.col("field") == name)["value"].drop_nulls()
        if name == fields.item and predictor.items is not None:
            known = predictor.items[name].drop_nulls()  # it knows no others
        values = number.cast(pl.String) if known.is_empty() else known[number % len(known)]
        if name in fields.multi_valued:
            values = pl.Series([[each] * (row % 2) for row, each in enumerate(values)])
        made[name] = values.alias(name)
    rows = pl.DataFrame(made)
    if not predictor.histories:
        return rows
    past = [rows[str(fields.item)].head(row % 4).to_list() for row in number]
    return rows.with_columns(pl.Series(fields.history or "history", past, pl.List(pl.String)))
