"""A trained model of clicks, asked for the probabilities of raw rows."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from lightning_rec.data.clicks import cells, columns
from lightning_rec.data.clicks.batches import ClickBatch, ClickSet
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.histories import given_histories
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor
from lightning_rec.data.clicks.reading import with_points
from lightning_rec.data.dialect import Decimal
from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.models.clicks.parts import ClickModel
from lightning_rec.predict.asking import Frame, arrays, frame
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.candidates import best_candidates, candidates_of, check_said, ready_for
from lightning_rec.predict.context import Context, unknown_in, with_context
from lightning_rec.predict.told import Told
from lightning_rec.rules.rules import Given

if TYPE_CHECKING:
    from lightning_rec.runs.folder import RunFolder


log = logging.getLogger(__name__)


def score_of(goals: Sequence[str], goal: str | None) -> str:
    """The column of the scores of a goal. Raises UserError if it is none, or one has to be said."""
    if goal is None and len(goals) > 1:
        raise UserError(f"The model has several goals: say goal= one of {listed(goals)}.")
    if goal is not None and goal not in goals:
        raise UserError(f"goal={goal}: it is unknown.{suggest(goal, goals)}")
    return f"score_{goal}" if len(goals) > 1 else "score"


class ClickPredictor(Predictor):
    """A trained model of clicks with what was fitted on its training rows, ``processor``.

    ``items``: row i describes item i, its id in the column of items; None where items are known by
    ids alone. ``histories``: whether the model reads them. ``decimal``: of numbers in text.
    """

    answers: ClassVar[str] = (
        "a run of clicks answers score(rows) and recommend(rows, items), one of two_tower has "
        "vectors"
    )

    def __init__(
        self,
        model: ClickModel,
        processor: FeatureProcessor,
        items: pl.DataFrame | None,
        histories: bool,
        batch_size: int,
        decimal: Decimal = "point",
    ) -> None:
        self.decimal = decimal
        self.model, self.processor, self.items = model.eval(), processor, items
        self.histories, self.batch_size = histories, batch_size
        self.name = model.title

    @classmethod
    def of(cls, run: "RunFolder", problem: Any, new_items: Any = None) -> Self:
        """That of a completed run. Raises UserError where the run does not hold what it needs."""
        if new_items is not None:
            raise UserError(
                "new_items: a model of clicks has no list of items to add to; it scores any row, "
                "and what it did not meet in training counts as unknown."
            )
        tables = {name: run.table(name) for name in TABLES}
        processor = FeatureProcessor.of(tables, problem.source.fields)
        described = problem.items is not None or problem.template is not None
        items = run.table("items").sort("code").drop("code") if described else None
        model = problem.restored(run, processor, items)
        reads = bool(getattr(problem.meta_model, "reads_history", False))
        decimal: Decimal = getattr(problem.source, "decimal", "point")
        size = int(problem.cfg.batches.eval_batch_size)
        return cls(model, processor, items, reads, size, decimal)

    def recommend(
        self,
        rows: Frame,
        items: Frame | None = None,
        k: int = 10,
        *,
        context: Context | None = None,
        goal: str | None = None,
        rules: Given | None = None,
        told: Told | None = None,
    ) -> pl.DataFrame:
        """The ``k`` candidates that each row would most probably click.

        Args:
            rows: whom it is for, as :meth:`score` takes them, without the columns of the
                candidates: a user, or features alone of one that training has not.
            items: the candidates: the column ``data.fields.item``, or ``item``, and the features
                of items. What training has not is scored by its other features.
            k: how many.
            context: see :meth:`score`.
            goal: of several, the one that orders.
            rules: see :class:`Rules`, over the columns of the candidates; boosts are of the
                probability.
            told: is added what else is to be told; None logs it.

        Returns:
            ``row`` (its number), ``rank`` from 1, ``item``, ``title`` where there are any, and the
            probability as ``score``, with boosts.

        Raises:
            UserError: as :meth:`score`, or where a column is missing, or has two parts to play.
        """
        if items is None:
            raise UserError(
                f"{self.name} ranks candidates: say recommend(rows, items=FRAME), with a row for "
                "each; score(rows) gives rows their probability."
            )
        fields, answer = self.processor.fields, score_of(self.processor.schema.goals, goal)
        name, tell = fields.item or "item", told or Told()
        given = candidates_of(frame(items), name)
        if name in fields.features:
            self._tell_unknown(name, given[name], "candidates")
        whom = with_context(self.processor, frame(rows), context)
        check_said(fields.features, whom, given)
        kept = [each for each in (*fields.features, fields.history or "history") if each in whom]
        ready = None if rules is None else ready_for(rules, given, name)
        tell.notes += [] if ready is None else ready.notes

        def score(pairs: pl.DataFrame) -> NDArray[np.float64]:
            return self.score(pairs)[answer].to_numpy()

        read = [each for each in fields.features if each in given.columns]
        ordered = given.select(name, pl.exclude(name))
        found = best_candidates(score, whom.select(kept), ordered, read, k, ready, tell)
        if told is None:
            tell.log(k)
        return found

    def _tell_unknown(self, name: str, values: pl.Series, what: str) -> None:
        """Log how many values training has not, which all get the scores of an unknown one."""
        if number := unknown_in(self.processor, name, values):
            words = "%s of %s %s are not known to this run by '%s': other features alone tell them."
            log.warning(words, f"{number:,}", f"{len(values):,}", what, name)

    @torch.no_grad()
    def score(self, rows: Frame, context: Context | None = None) -> pl.DataFrame:
        """The probability of each row, as the test of the run has it.

        Args:
            context: the value of columns that the rows have not, one for all of them, such as the
                hour or the device of the moment.
            rows: with the columns that ``data.fields`` names as features. Where the model reads
                histories also the column of those, or ``history`` where the run made them of its
                log (``data.fields.past``): the items before the row, oldest first. Unknown
                categories and empty values are read as in training.

        Returns:
            The rows, and ``score``, Float64 from 0 to 1; ``score_GOAL`` for each of several goals.

        Raises:
            UserError: for a missing column, a number that is none, or an item that the run
                has no description of.
        """
        fields, goals = self.processor.fields, self.processor.schema.goals
        names = [f"score_{goal}" for goal in goals] if len(goals) > 1 else ["score"]
        history = [fields.history or "history"] if self.histories else []
        whole = with_context(self.processor, frame(rows), context)
        given = frame(whole, *fields.features, *history, answers=names)
        read = self._numbers(given)
        made = np.zeros((len(given), len(goals)))
        for start in range(0, len(given), self.batch_size):
            batch = self._batch(read[start : start + self.batch_size])
            logits = self.model(batch.rows).double().reshape(-1, len(goals))
            made[start + batch.example.numpy()] = torch.sigmoid(logits).numpy()
        if (odd := ~np.isfinite(made).all(axis=1)).any():
            raise UserError(
                f"Row {int(odd.argmax())}: its numbers are so large that the score is none."
            )
        return given.with_columns(pl.Series(name, made[:, i]) for i, name in enumerate(names))

    def user_vectors(self, rows: Frame) -> pl.DataFrame:
        """The vector of the user of each row, of a model of two towers.

        Args:
            rows: with the columns of the features of users, read as by :meth:`score`.

        Returns:
            The rows, and ``vector``; inner products of users' and items' order as scores do where
            the towers meet in one (``model.dot=true``).

        Raises:
            UserError: of another model, or as :meth:`score`.
        """
        return self._towers(rows, 0, "user_vectors")

    def item_vectors(self, rows: Frame) -> pl.DataFrame:
        """The vector of the item of each row, of a model of two towers; see `user_vectors`."""
        return self._towers(rows, 1, "item_vectors")

    @torch.no_grad()
    def _towers(self, rows: Frame, side: int, asked: str) -> pl.DataFrame:
        if self.model.sides is None:
            raise self._cannot(asked)
        fields, schema = self.processor.fields, self.processor.schema
        names = {schema.fields[place].name for place in self.model.sides[side]}
        given = frame(rows, *(name for name in fields.features if name in names))
        absent = [name for name in fields.features if name not in names]
        whole = given.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
        whole = self._numbers(whole)
        made = [torch.zeros(0, 0)] if given.is_empty() else []
        for start in range(0, len(given), self.batch_size):
            batch = self._batch(whole[start : start + self.batch_size])
            made.append(self.model.encode_sides(batch.rows)[side][batch.example.argsort()])
        return given.with_columns(vector=arrays(torch.cat(made).numpy()))

    def _batch(self, rows: pl.DataFrame) -> ClickBatch:
        """Raw rows as the model reads them, the longest histories first."""
        none, past = np.zeros(0, dtype=np.int64), None
        if self.histories:
            column = rows[self.processor.fields.history or "history"]
            past, _ = given_histories(self.processor, column)
        encoded = Encoded(
            self.processor.schema,
            self.processor.ids(rows),
            self.processor.values(rows),
            label=np.zeros(len(rows), dtype=np.float32),
            weight=None,
            group=None,
            train=none,
            val=none,
            test=np.arange(len(rows)),
            vocabulary=self.processor.vocabulary,
            statistics=self.processor.statistics,
            boundaries=None,
            counts={},
            past=past,
            shown=self._shown(rows),
        )
        return ClickSet(encoded, "test", self.histories).__getitems__(list(range(len(rows))))

    def _shown(self, rows: pl.DataFrame) -> NDArray[np.int32] | None:
        """The code of the item of each row, int32 [n]; None where they are known by ids alone."""
        if self.items is None:
            return None
        name = str(self.processor.fields.item)
        codes = self.items.select(name).with_row_index("code")
        values = columns.text(rows[name]).alias(name).to_frame()
        code = values.join(codes, name, "left", nulls_equal=True, maintain_order="left")["code"]
        if code.has_nulls():
            unknown = values.filter(code.is_null())[name].unique(maintain_order=True).to_list()
            raise UserError(
                f"This run knows items by texts or vectors, and has none of '{name}' "
                f"{listed(map(str, unknown), 3)}."
            )
        return code.to_numpy().astype(np.int32)

    def _numbers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows, text of numbers as the run reads it. Raises UserError for what is none."""
        fields = self.processor.fields
        read = with_points(rows.lazy(), fields, self.decimal).collect()
        for name in fields.numeric:
            if (words := columns.words(read[name])).any():
                row = int(words.argmax())
                raise UserError(
                    f"Row {row}: '{read[name][row]}' in column '{name}' is no number up to "
                    f"{cells.MOST:g}."
                )
        return read
