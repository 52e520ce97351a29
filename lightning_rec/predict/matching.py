"""A trained model of matching, asked for the items that belong to queries."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.templates import render_template
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.language.cached import read_all
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.matcher import TextModel
from lightning_rec.predict.asking import Catalogue, Frame, arrays, check_k, frame, split
from lightning_rec.predict.base import Predictor
from lightning_rec.predict.new_items import with_new
from lightning_rec.predict.ruled import plain_lists, ruled_lists
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.texts import ExactRetriever, TextRetriever, make_retriever
from lightning_rec.rules.ready import Ready, made_ready
from lightning_rec.rules.rules import Given
from lightning_rec.rules.where import UnknownColumn

if TYPE_CHECKING:
    from lightning_rec.runs.folder import RunFolder

PAIRS = 2**12  # scored at once
DESCRIBED = (
    "items=FILE, a table with a column item, brings columns to search, answer and serve; in Python "
    "describe() does."
)


class MatchPredictor(Predictor):
    """A trained model of matching with its catalogue, ``item`` and ``title``; row i is code i.

    ``items``: the same with the columns that rules may ask of; see :meth:`describe`.
    """

    def __init__(self, model: TextModel, items: pl.DataFrame) -> None:
        self.model, self.catalogue, self.items = model.eval(), Catalogue(items), items
        self.name = type(model).__name__

    @classmethod
    def of(cls, run: "RunFolder", problem: Any, new_items: Frame | None = None) -> Self:
        """That of a completed run. Raises UserError where the run does not hold what it needs."""
        model = problem.restored(run)
        return cls(model, cls.catalogue_of(run, model, new_items))

    @staticmethod
    def catalogue_of(run: "RunFolder", model: TextModel, new_items: Frame | None) -> pl.DataFrame:
        """The items of a run, and new ones behind them. Raises UserError if none would be found."""
        first = getattr(model, "first", model)
        if new_items is not None and not first.encodes:
            raise UserError(
                f"new_items: {type(first).__name__} has indexed the texts of its training and "
                "finds no others: train it again with the new ones, or ask a bi-encoder."
            )
        return with_new(run.table("items").sort("code").drop("code"), new_items, "{title}")

    def describe(self, items: Frame) -> None:
        """Take further columns of items, ``item`` and others, for conditions and caps.

        Raises UserError where there are none, or an item comes twice.
        """
        given = frame(items, "item")
        own = [name for name in given.columns if name not in self.catalogue.items.columns]
        if not own:
            raise UserError("The table of items has no columns that the catalogue has not.")
        code = self.catalogue.codes(given["item"])
        table = given.select(own).with_columns(code.alias("code")).drop_nulls("code")
        if table["code"].is_duplicated().any():
            raise UserError("The table of items names an item twice.")
        if table.is_empty():
            raise UserError("The table of items has none of this run's: its ids are others.")
        rows = self.catalogue.items.with_row_index("code")
        self.items = rows.join(table, "code", "left", maintain_order="left").drop("code")

    def ready(self, rules: Given | Ready) -> Ready:
        """Rules over this catalogue. Raises UserError where they do not fit it."""

        def events() -> Ints:
            raise UserError(
                "explore=thompson asks how many events an item has, which a run of matching does "
                "not know: take epsilon or softmax."
            )

        try:
            return made_ready(rules, self.items, self.catalogue.codes, self._alike, events)
        except UnknownColumn as error:  # other models take no such table
            if self.items is not self.catalogue.items:  # it was given
                raise
            raise UnknownColumn(f"{error} {DESCRIBED}") from None

    @torch.no_grad()
    def recommend(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        rules: Given | Ready | None = None,
        told: Told | None = None,
    ) -> pl.DataFrame:
        """The ``k`` best items of the catalogue for each query.

        Args:
            queries: texts.
            k: how many.
            rules: filters, boosts, caps, diversity, exploration; see :class:`Rules`. What a query
                does not find stays so, whatever a boost adds.
            told: is added what else is to be told, such as what rules cost; None logs it.

        Returns ``query``, ``rank`` from 1, ``item``, ``title``, ``score`` (Float32, with boosts),
        and ``propensity`` where rules explore; fewer rows where nothing more is found. Raises
        UserError for an empty query, or a bad ``k``.
        """
        asked = texts_of(queries)
        retriever, tell = self.retriever, told or Told()
        check_k(k, retriever.longest, "this run can find from 1 to {:,} items for a query")
        ready = None if rules is None else self.ready(rules)
        retriever.read(asked.to_list())
        top = partial(retriever.top, rules=ready)
        if ready is None or not ready.rules.choosing:
            lists = plain_lists(top(torch.arange(len(asked)), k))
        else:
            keys = asked.hash(seed=0).to_numpy()
            lists = ruled_lists(top, keys, k, retriever.longest, ready, tell)
        if ready is not None:
            number = np.bincount(lists.row, minlength=len(asked))
            tell.count(number, np.ones(len(asked), dtype=np.int64), k)
            if told is None:
                tell.log(k)
        found = self.catalogue.ranked(
            asked.gather(lists.row), lists.rank, lists.item, lists.score
        ).with_columns(_place=pl.Series(lists.row))
        if lists.propensity is not None:
            found = found.with_columns(propensity=pl.Series(lists.propensity))
        return found.sort("_place", "rank").drop("_place")

    @torch.no_grad()
    def score(self, rows: Frame) -> pl.DataFrame:
        """The score of each row, a ``query`` and an ``item``: the rows, ``score`` added (Float32).

        It is null where the run does not know the item. Raises UserError for an empty query.
        """
        given = frame(rows, "query", "item", answers=["score"])
        once = texts_of(given["query"].unique(maintain_order=True))
        codes = self.catalogue.codes(given["item"])
        place = np.flatnonzero(codes.is_not_null().to_numpy())
        queries = once.to_frame("query").with_row_index("row")
        rows_of = given.select("query").join(queries, "query", "left", maintain_order="left")["row"]
        row, item = (torch.tensor(each.gather(place).to_list()).long() for each in (rows_of, codes))
        self.retriever.read(once.to_list())
        scores = np.full(len(given), np.nan, dtype=np.float32)
        for some in split(np.arange(len(place)), PAIRS):
            scores[place[some]] = self.retriever.pairs(row[some], item[some]).float().numpy()
        return given.with_columns(pl.Series("score", scores).fill_nan(None))

    @torch.no_grad()
    def user_vectors(self, queries: Sequence[str]) -> pl.DataFrame:
        """The vector of each query, whose inner product with an item's is its score.

        Returns ``query``, ``vector``. Raises UserError for an empty query.
        """
        self._vectors("user_vectors")
        asked = texts_of(queries)
        assert isinstance(self.model, BiEncoder)
        made = read_all(self.model.text, self.model.read(asked.to_list(), item=False))
        return pl.DataFrame({"query": asked, "vector": arrays(made.float().numpy())})

    @cached_property
    def retriever(self) -> TextRetriever:
        """That of the catalogue, which is read once."""
        titles = render_template(self.catalogue.items, "{title}")
        return make_retriever(self.model, ["any"], titles, cache_dir())

    def _alike(self) -> Tensor:
        return self._vectors("diversity")

    def _vectors(self, what: str, *, biased: bool = False) -> Tensor:
        if not self.model.encodes:
            raise self._cannot(what)
        assert isinstance(self.retriever, ExactRetriever)
        vectors = self.retriever.index()
        assert vectors is not None
        return vectors.detach().float()


def texts_of(queries: Sequence[str] | pl.Series) -> pl.Series:
    """Queries as String. Raises UserError if one is empty, or none is asked."""
    if isinstance(queries, str):
        raise UserError("Queries are a list of texts: say for instance ['angle bracket'].")
    asked = pl.Series("query", list(queries), dtype=pl.String, strict=False)
    if asked.is_null().any() or (asked.str.strip_chars() == "").any():
        raise UserError("A query is empty: say what is looked for, as in 'angle bracket'.")
    return asked
