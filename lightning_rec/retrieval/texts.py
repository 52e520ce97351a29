"""Retrieval by texts: the whole catalogue is scored for queries, and perhaps re-ranked."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from lightning_rec.adapters.probe import evaluating
from lightning_rec.data.types import Mask
from lightning_rec.language.cached import kept_vectors, read_all, weights_hash
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.best import best
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import (
    CatalogueScorer,
    FittedToTexts,
    TextModel,
    Texts,
    TextScorer,
)
from lightning_rec.models.text.pipeline import TextPipeline
from lightning_rec.retrieval.exact import (
    Found,
    Pairs,
    Retriever,
    lowest_if_no_number,
    rank_blocks,
)

SCORE_BYTES = 32 * 2**20  # scores held at once

Make = Callable[[TextEncoder, Tokenized], Tensor]


class Adjusts(Protocol):
    """What becomes of scores by rules; -inf of what is no candidate.

    ``allowed``: bool [N], what filters leave; None: all.
    """

    allowed: Mask | None

    def adjust(self, scores: Tensor, start: int, stop: int) -> Tensor:
        """Scores of the items from ``start`` to ``stop``, float32 [B, stop - start]."""
        ...

    def adjust_items(self, scores: Tensor, items: Tensor) -> Tensor:
        """Scores of some items, float [B, M], by their codes, int64 [B, M]."""
        ...


class TextRetriever(Retriever, Protocol):
    """A retriever whose queries are codes of texts, int64 [B]."""

    def top(
        self,
        queries: Tensor,
        k: int,
        ask: Pairs | None = None,
        left_out: Pairs | None = None,
        rules: Adjusts | None = None,
    ) -> Found:
        """See :class:`Retriever`. ``rules`` change scores before the best are taken; they leave
        what was not found so.
        """
        ...

    def pairs(self, query: Tensor, item: Tensor) -> Tensor:
        """Score pairs, int64 [S] and int64 [S] codes: float [S]."""
        ...

    def read(self, queries: list[str]) -> None:
        """Take other queries for the same catalogue."""
        ...

    def renew(self) -> None:
        """Look whether weights have moved; what was made of the catalogue is then forgotten."""
        ...


def make_retriever(
    model: TextModel, queries: list[str], items: list[str], cache: Path
) -> TextRetriever:
    """The retriever of ``items`` for ``queries``; what is fitted to texts is fitted first.

    ``cache``: the folder of caches, of vectors too.
    """
    if isinstance(model, TextPipeline):
        from lightning_rec.retrieval.union import UnionRetriever  # which is made of these

        found = [make_retriever(each, queries, items, cache) for each in model.members]
        return UnionRetriever(model, found, queries, items)
    assert isinstance(model, TextScorer)
    for part in model.modules():
        if isinstance(part, FittedToTexts) and not part.fitted:
            part.fit(items)
    texts = Texts(model.read(queries, item=False), model.read(items, item=True))
    if isinstance(model, CatalogueScorer):
        return ExactRetriever(model, texts, partial(kept_vectors, folder=cache / "texts"))
    assert isinstance(model, CrossEncoder)
    first = make_retriever(model.first, queries, items, cache)
    return Reranker(model, texts, first, model.rerank)


class ExactRetriever:
    """Scores the whole catalogue of ``texts``, which the model reads.

    ``make``: makes a vector of each item; asked when the first query comes, and again after
    :meth:`renew` has found that the weights have moved.
    """

    def __init__(self, model: CatalogueScorer, texts: Texts, make: Make | None = None) -> None:
        self.model, self.texts, self.make = model, texts, make or read_all
        self.longest = len(texts.items)
        self._index: tuple[Tensor | None] | None = None  # None until there is one
        self._weights = ""  # hash of those that it was made by

    def read(self, queries: list[str]) -> None:
        """See :class:`TextRetriever`."""
        self.texts = self.texts._replace(queries=self.model.read(queries, item=False))

    def renew(self) -> None:
        """See :class:`TextRetriever`."""
        weights = weights_hash(self.model.state_dict())
        if weights != self._weights:
            self._index, self._weights = None, weights

    @torch.no_grad()
    def index(self) -> Tensor | None:
        """What the model made of the catalogue; see :meth:`CatalogueScorer.index`."""
        if self._index is None:
            with evaluating(self.model):
                self._index = (self.model.index(self.texts.items, self.make),)
        return self._index[0]

    @torch.no_grad()
    def scores(self, queries: Tensor) -> Tensor:
        """Scores of the whole catalogue for queries, int64 [B]: float32 [B, N], without NaN."""
        index = self.index()
        with evaluating(self.model):
            tokens = self.texts.queries.take(queries.cpu().numpy()).to(queries.device)
            return lowest_if_no_number(self.model.against(tokens, index))

    def pairs(self, query: Tensor, item: Tensor) -> Tensor:
        """See :class:`TextRetriever`."""
        return self.model.pairs(self.texts, query, item)

    @torch.no_grad()
    def top(
        self,
        queries: Tensor,
        k: int,
        ask: Pairs | None = None,
        left_out: Pairs | None = None,
        rules: Adjusts | None = None,
    ) -> Found:
        """See :class:`TextRetriever`."""
        none, k = Pairs.none(queries.device), min(k, self.longest)
        ask, left_out = ask or none, left_out or none
        rank, score = torch.zeros_like(ask.item), ask.item.float()
        parts = [Found(queries.new_zeros(0, k), score.new_zeros(0, k), *none, none.row)]
        step = max(1, bytes_at_once(queries.device, SCORE_BYTES) // (4 * self.longest))
        for start in range(0, len(queries), step):
            codes = queries[start : start + step]
            scores = self.scores(codes)
            floor = self.model.floor
            if rules is not None:
                none_of_them, floor = scores <= floor, -torch.inf
                scores = rules.adjust(scores, 0, self.longest).masked_fill(none_of_them, floor)
            here, asked = ask.of_rows(start, step)
            _, seen = left_out.of_rows(start, step)
            whole = partial(_whole, scores)
            found = rank_blocks(whole, len(codes), self.longest, k, asked, seen, floor)
            rank[here], score[here] = found.rank, found.score
            parts.append(found)
        items, scores, _, _, candidates = map(torch.cat, zip(*parts, strict=True))
        return Found(items, scores, rank, score, candidates)


class Reranker:
    """Re-ranks the best ``number`` that ``first`` retrieves; what lies beyond keeps its place."""

    def __init__(self, model: TextScorer, texts: Texts, first: TextRetriever, number: int) -> None:
        self.model, self.texts, self.first = model, texts, first
        self.longest = min(number, first.longest)

    def pairs(self, query: Tensor, item: Tensor) -> Tensor:
        """See :class:`TextRetriever`."""
        return self.model.pairs(self.texts, query, item)

    def read(self, queries: list[str]) -> None:
        """See :class:`TextRetriever`."""
        self.texts = self.texts._replace(queries=self.model.read(queries, item=False))
        self.first.read(queries)

    def renew(self) -> None:
        """See :class:`TextRetriever`."""
        self.first.renew()

    @torch.no_grad()
    def top(
        self,
        queries: Tensor,
        k: int,
        ask: Pairs | None = None,
        left_out: Pairs | None = None,
        rules: Adjusts | None = None,
    ) -> Found:
        """See :class:`TextRetriever`."""
        found = self.first.top(queries, self.longest, ask, left_out, rules)
        row, place = (found.items >= 0).nonzero(as_tuple=True)
        scores = torch.full_like(found.scores, -torch.inf)
        with evaluating(self.model):
            of_pairs = self.pairs(queries[row], found.items[row, place])
            scores[row, place] = lowest_if_no_number(of_pairs)
            score, rank = found.score, found.rank
            if ask is not None:
                score = self.pairs(queries[ask.row], ask.item)
                rank = ranked_again(found, scores, *ask)
        if rules is not None:
            there = found.items >= 0
            adjusted = rules.adjust_items(scores.where(there, 0), found.items.clamp(min=0))
            scores = adjusted.where(there, -torch.inf)
        top = best(scores, min(k, self.longest), found.items)
        items = found.items.gather(1, top.indices)
        return Found(items, top.values, rank, score, found.candidates)


def _whole(scores: Tensor, start: int, stop: int) -> Tensor:
    """Scores of the only block."""
    return scores[:, start:stop]


def ranked_again(found: Found, scores: Tensor, row: Tensor, item: Tensor) -> Tensor:
    """Ranks of the items asked about, int64 [S]: new ones for those that were re-ranked."""
    hit = found.items[row] == item[:, None]  # [S, number]
    own = scores[row].masked_fill(~hit, -torch.inf).amax(dim=1, keepdim=True)
    again = (scores[row] >= own).sum(dim=1)
    return torch.where(hit.any(dim=1), again, found.rank)
