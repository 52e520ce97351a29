"""A trained model of matching, asked for the items that belong to queries."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.templates import render_template
from lightning_rec.errors import UserError
from lightning_rec.language.cached import read_all
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.matcher import TextScorer
from lightning_rec.predict.asking import Catalogue, Frame, arrays, check_k, frame, split
from lightning_rec.predict.base import Predictor
from lightning_rec.retrieval.texts import ExactRetriever, TextRetriever, make_retriever

if TYPE_CHECKING:
    from lightning_rec.runs.folder import RunFolder

PAIRS = 2**12  # scored at once


class MatchPredictor(Predictor):
    """A trained model of matching with its catalogue, ``item`` and ``title``; row i is code i."""

    def __init__(self, model: TextScorer, items: pl.DataFrame) -> None:
        self.model, self.catalogue = model.eval(), Catalogue(items)
        self.name = type(model).__name__

    @classmethod
    def of(cls, run: "RunFolder", problem: Any) -> Self:
        """That of a completed run. Raises UserError where the run does not hold what it needs."""
        return cls(problem.restored(run), run.table("items").sort("code").drop("code"))

    def recommend(self, queries: Sequence[str], k: int = 10) -> pl.DataFrame:
        """The ``k`` best items of the catalogue for each query.

        Returns ``query``, ``rank`` from 1, ``item``, ``title``, ``score`` (Float32); fewer rows
        where nothing more is found. Raises UserError for an empty query, or a bad ``k``.
        """
        asked = _queries(queries)
        retriever = self._retriever
        check_k(k, retriever.longest, "this run can find from 1 to {:,} items for a query")
        retriever.read(asked.to_list())
        found = retriever.top(torch.arange(len(asked)), k)
        row, place = (found.items >= 0).nonzero(as_tuple=True)
        items, scores = found.items[row, place], found.scores[row, place].float()
        queried, rank = asked.gather(row.tolist()), (place + 1).numpy()
        return self.catalogue.ranked(queried, rank, items.numpy(), scores.numpy())

    @torch.no_grad()
    def score(self, rows: Frame) -> pl.DataFrame:
        """The score of each row, a ``query`` and an ``item``: the rows, ``score`` added (Float32).

        It is null where the run does not know the item. Raises UserError for an empty query.
        """
        given = frame(rows, "query", "item")
        once = _queries(given["query"].unique(maintain_order=True))
        codes = self.catalogue.codes(given["item"])
        place = np.flatnonzero(codes.is_not_null().to_numpy())
        queries = once.to_frame("query").with_row_index("row")
        rows_of = given.select("query").join(queries, "query", "left", maintain_order="left")["row"]
        row, item = (torch.tensor(each.gather(place).to_list()).long() for each in (rows_of, codes))
        self._retriever.read(once.to_list())
        texts = self._retriever.texts
        scores = np.full(len(given), np.nan, dtype=np.float32)
        for some in split(np.arange(len(place)), PAIRS):
            scores[place[some]] = self.model.pairs(texts, row[some], item[some]).float().numpy()
        return given.with_columns(pl.Series("score", scores).fill_nan(None))

    @torch.no_grad()
    def user_vectors(self, queries: Sequence[str]) -> pl.DataFrame:
        """The vector of each query, whose inner product with an item's is its score.

        Returns ``query``, ``vector``. Raises UserError for an empty query.
        """
        self._vectors("user_vectors")
        asked = _queries(queries)
        assert isinstance(self.model, BiEncoder)
        made = read_all(self.model.text, self.model.read(asked.to_list(), item=False))
        return pl.DataFrame({"query": asked, "vector": arrays(made.float().numpy())})

    @cached_property
    def _retriever(self) -> TextRetriever:
        """That of the catalogue, which is read once."""
        titles = render_template(self.catalogue.items, "{title}")
        return make_retriever(self.model, ["any"], titles, cache_dir())

    def _vectors(self, what: str, *, biased: bool = False) -> Tensor:
        if not self.model.encodes:
            raise self._cannot(what)
        assert isinstance(self._retriever, ExactRetriever)
        vectors = self._retriever.index()
        assert vectors is not None
        return vectors.detach().float()


def _queries(queries: Sequence[str] | pl.Series) -> pl.Series:
    """Queries as String. Raises UserError if one is empty, or none is asked."""
    if isinstance(queries, str):
        raise UserError("Queries are a list of texts: say for instance ['angle bracket'].")
    asked = pl.Series("query", list(queries), dtype=pl.String, strict=False)
    if asked.is_null().any() or (asked.str.strip_chars() == "").any():
        raise UserError("A query is empty: say what is looked for, as in 'angle bracket'.")
    return asked
