"""TF-IDF: items are recommended by the words they share with those of the history.

Salton and Buckley, Term-weighting approaches in automatic text retrieval, 1988; the profile of a
user as the mean of what they had is Rocchio's. Shapes: M queries, V = num_items, W = words.
"""

from typing import Any

import polars as pl
import torch
from pydantic import PositiveFloat, PositiveInt
from scipy import sparse
from torch import Tensor

from lightning_rec.data.split import Histories, Schema
from lightning_rec.data.templates import as_text
from lightning_rec.errors import UserError, import_extra, listed
from lightning_rec.models.base import SequenceModel
from lightning_rec.models.classic.parts import Sparse, past, pick


class TFIDF(SequenceModel):
    """The score of an item is the inner product of its words with the history's mean.

    An item's words are weighted by tf·idf, idf over the items of the catalogue that have training
    events, and made to length 1. No other user plays any part, so a new item needs no events.

    Args:
        columns: columns of the catalogue that are read, text or lists of texts; those that are
            not there are passed over.
        max_words: keep the most frequent words.
        half_life: events after which one of the history weighs half; None weighs all alike.
    """

    objectives = ("closed_form",)

    def __init__(
        self,
        schema: Schema,
        columns: tuple[str, ...] = ("title", "genres", "categories"),
        max_words: PositiveInt = 20_000,
        half_life: PositiveFloat | None = None,
    ) -> None:
        super().__init__(schema)
        self.columns, self.max_words, self.half_life = columns, max_words, half_life
        self.needs_order = half_life is not None
        self.words = Sparse(schema.num_items)
        _library()

    def read_catalogue(self, catalogue: pl.DataFrame) -> None:
        """Weigh the words of each item; row i of the catalogue describes item i.

        Raises UserError if there are none of the columns, or no words in them.
        """
        columns = [name for name in self.columns if name in catalogue.columns]
        if not columns:
            raise UserError(
                f"model.columns={listed(self.columns)}: the catalogue of this data has none of "
                f"them. It has {listed(catalogue.columns)}; name those that describe an item, or "
                "set data.catalogue to a table that does."
            )
        texts = catalogue.select(
            pl.concat_str([as_text(catalogue, name) for name in columns], separator=" ")
        ).to_series()
        vectorizer = _library().TfidfVectorizer(max_features=self.max_words)
        try:
            words = vectorizer.fit_transform(texts)
        except ValueError:  # scikit-learn's for an empty vocabulary
            raise UserError(
                f"model.columns={listed(columns)}: there are no words in them."
            ) from None
        self.words.keep(sparse.csr_array(words))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The weighted mean of the history's items: float [M, W]."""
        before = past(histories, positions, self.schema.num_items)
        items, weight = before.items.cpu(), before.weights(self.half_life).cpu()
        row, column = before.mask.cpu().nonzero(as_tuple=True)
        pairs = (row.numpy(), items[row, column].numpy())
        shape = (len(items), self.schema.num_items)
        bags = sparse.csr_array((weight[row, column].numpy(), pairs), shape=shape)
        return torch.from_numpy((bags @ self.words.scipy()).toarray()).to(histories.items.device)

    def scores(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        """Inner products with the items' words; see :meth:`SequenceModel.scores`."""
        if items is not None and items.dim() == 2:
            return pick(self.scores(queries), items)
        words = self.words.scipy()
        if items is not None:
            words = words[items.cpu().numpy()]
        return torch.from_numpy(words @ queries.cpu().numpy().T).T.contiguous().to(queries.device)


def _library() -> Any:
    return import_extra("sklearn.feature_extraction.text", "model=tfidf", "classic")
