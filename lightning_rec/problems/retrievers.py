"""What finds items for queries with a text scorer, and the slices by which it is measured."""

from functools import partial

import numpy as np
import polars as pl
import torch

from lightning_rec.data.fetch import cache_dir
from lightning_rec.language.cached import kept_vectors
from lightning_rec.metrics.slices import cut
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import CatalogueScorer, FittedToTexts, Texts, TextScorer
from lightning_rec.tasks.retrieval import ExactRetriever, Reranker, Retriever

WORDS_FROM = (1, 3, 5)  # where the slices by the number of words in a query begin


def make_retriever(model: TextScorer, queries: list[str], items: list[str]) -> Retriever:
    """What finds ``items`` for ``queries``; what is fitted to texts is fitted first."""
    for part in model.modules():
        if isinstance(part, FittedToTexts) and not part.fitted:
            part.fit(items)
    texts = Texts(model.read(queries, item=False), model.read(items, item=True))
    make = partial(kept_vectors, folder=cache_dir() / "texts")
    if isinstance(model, CatalogueScorer):
        return ExactRetriever(model, texts, make)
    assert isinstance(model, CrossEncoder)
    first = make_retriever(model.first, queries, items)
    assert isinstance(first, ExactRetriever)
    return Reranker(model, texts, first, model.rerank)


def word_slices(queries: pl.Series) -> dict[str, torch.Tensor]:
    """The slices of the queries by their number of words: bool [Q] by name."""
    number = queries.str.extract_all(r"\S+").list.len().to_numpy()
    return cut("words", torch.from_numpy(number.astype(np.int64)), WORDS_FROM)
