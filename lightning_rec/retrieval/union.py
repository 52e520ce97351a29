"""Retrieval by several models of matching: the best of each are united, and ranked anew.

Shapes: B queries, N items, S pairs that are asked about, P candidates of all queries, C candidates
of a query at most.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lightning_rec.adapters.probe import evaluating
from lightning_rec.data.types import Ints, Mask
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.best import best
from lightning_rec.models.candidates import LOWEST, Candidates, Gathered
from lightning_rec.models.text.bm25 import words_of
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import Texts
from lightning_rec.models.text.pipeline import TextPipeline
from lightning_rec.retrieval.exact import Found, Pairs, but_asked, lowest_if_no_number
from lightning_rec.retrieval.texts import (
    SCORE_BYTES,
    Adjusts,
    ExactRetriever,
    TextRetriever,
    ranked_again,
)


class Block(NamedTuple):
    """Some queries, int64 [B], the number of the first, and what retrievers say of the catalogue.

    at, item: int64 [P], the candidates: row of the query here, and item code.
    """

    start: int
    queries: Tensor
    gathered: Gathered
    at: Tensor
    item: Tensor


class UnionRetriever:
    """Ranks the union of what several retrievers find.

    Args:
        model: says how many each gives, and what ranks them.
        retrievers: that score the whole catalogue, in the order of the model's quotas.
        queries, items: texts.
    """

    def __init__(
        self,
        model: TextPipeline,
        retrievers: Sequence[TextRetriever],
        queries: list[str],
        items: list[str],
    ) -> None:
        self.model = model
        self.retrievers = [each for each in retrievers if isinstance(each, ExactRetriever)]
        self.shared = SharedWords(items, model.stemmer)
        self.shared.read(queries)
        self.reader = model.ranker if isinstance(model.ranker, CrossEncoder) else None
        if self.reader is not None:
            read = self.reader.read
            self.texts = Texts(read(queries, item=False), read(items, item=True))
        self.num_items = len(items)
        self.longest = min(len(items), sum(model.quotas.values()))

    def read(self, queries: list[str]) -> None:
        """See :class:`TextRetriever`."""
        self.shared.read(queries)
        if self.reader is not None:
            self.texts = self.texts._replace(queries=self.reader.read(queries, item=False))
        for each in self.retrievers:
            each.read(queries)

    def renew(self) -> None:
        """See :class:`TextRetriever`."""
        for each in self.retrievers:
            each.renew()

    def pairs(self, query: Tensor, item: Tensor) -> Tensor:
        """See :class:`TextRetriever`. What no retriever finds has a score as well."""
        if self.reader is not None:  # which needs no candidates
            return self._read(query, item)
        distinct, row = torch.unique(query, return_inverse=True)
        return self.top(distinct, 1, Pairs(row, item)).score

    def top(
        self,
        queries: Tensor,
        k: int,
        ask: Pairs | None = None,
        left_out: Pairs | None = None,
        rules: Adjusts | None = None,
    ) -> Found:
        """See :class:`TextRetriever`. Filters hold before retrieval; all else orders candidates."""
        return self.found(queries, k, ask, left_out, rules)[0]

    @torch.no_grad()
    def found(
        self,
        queries: Tensor,
        k: int,
        ask: Pairs | None = None,
        left_out: Pairs | None = None,
        rules: Adjusts | None = None,
    ) -> tuple[Found, Tensor]:
        """As :meth:`top`; and who found what is asked about, int64 [S]: bit i is retriever i."""
        none, most = Pairs.none(queries.device), self.longest
        ask = ask or none
        allowed = None if rules is None else rules.allowed
        rank, origin = torch.zeros_like(ask.item), torch.zeros_like(ask.item)
        score = ask.item.float()
        parts = [Found(queries.new_zeros(0, most), score.new_zeros(0, most), *none, none.row)]
        for block in self._blocks(queries, left_out, ask, allowed):
            here, asked = ask.of_rows(block.start, len(block.queries))
            made = self._ranked(block, block.at, block.item)
            items, scores, number = _laid_out(block, made, most)
            one = Found(items, scores, torch.zeros_like(asked.item), *none)
            rank[here] = ranked_again(one, scores, *asked)
            score[here] = self._ranked(block, *asked)
            origin[here] = block.gathered.bits[asked.row, asked.item]
            if rules is not None:
                there = items >= 0
                adjusted = rules.adjust_items(scores.where(there, 0), items.clamp(min=0))
                scores = adjusted.where(there, -torch.inf)
            parts.append(Found(items, scores, *none, number))
        items, scores, _, _, number = map(torch.cat, zip(*parts, strict=True))
        order = best(scores, min(k, most), items)
        ordered = items.gather(1, order.indices)
        return Found(ordered, order.values, rank, score, number), origin

    @torch.no_grad()
    def candidates(self, queries: Tensor) -> Candidates:
        """The candidates of queries, int64 [B], with their features."""
        parts = []
        for block in self._blocks(queries, None, Pairs.none(queries.device), None):
            one = self._described(block, block.at, block.item)
            parts.append(one._replace(row=one.row + block.start))
        return Candidates(*map(torch.cat, zip(*parts, strict=True)))

    def _blocks(
        self, queries: Tensor, left_out: Pairs | None, ask: Pairs, allowed: Mask | None
    ) -> Iterator[Block]:
        """Queries by parts, with what retrievers say of the whole catalogue."""
        out = None if left_out is None else Pairs(*but_asked(left_out, ask, self.num_items))
        kept = None if allowed is None else torch.from_numpy(allowed).to(queries.device)
        held = bytes_at_once(queries.device, SCORE_BYTES)
        step = max(1, held // (4 * self.num_items * (2 * len(self.retrievers) + 2)))
        for start in range(0, len(queries), step):
            codes = queries[start : start + step]
            gathered = Gathered(len(codes), self.num_items, queries.device)
            named = zip(self.model.quotas.items(), self.retrievers, strict=True)
            for (name, quota), retriever in named:
                began = time.perf_counter()
                scores = retriever.scores(codes)
                scores = scores.masked_fill(scores <= retriever.model.floor, LOWEST)
                if out is not None:
                    row, item = out.of_rows(start, step)[1]
                    scores[row, item] = LOWEST
                gathered.add(scores, quota, kept)
                self.model.seconds[name] += time.perf_counter() - began
            yield Block(start, codes, gathered, *gathered.bits.nonzero(as_tuple=True))

    def _described(self, block: Block, at: Tensor, item: Tensor) -> Candidates:
        """Pairs of a row of a block and an item, int64 [P] each, with their features."""
        began = time.perf_counter()
        columns = block.gathered.columns(at, item)
        columns += self.shared.columns(block.queries[at], item)
        features = torch.stack([column.float() for column in columns], dim=1)
        self.model.seconds["features"] += time.perf_counter() - began
        return Candidates(at, item, block.gathered.bits[at, item], features)

    def _ranked(self, block: Block, at: Tensor, item: Tensor) -> Tensor:
        """Scores of such pairs, float32 [P]."""
        found = None if self.reader is not None else self._described(block, at, item)
        began = time.perf_counter()
        scores = self._read(block.queries[at], item) if found is None else self.model.ranked(found)
        self.model.seconds["ranker"] += time.perf_counter() - began
        return scores

    @torch.no_grad()
    def _read(self, query: Tensor, item: Tensor) -> Tensor:
        """Scores of pairs of codes, int64 [P] each, by the cross-encoder: float32 [P]."""
        assert self.reader is not None
        with evaluating(self.reader):
            return lowest_if_no_number(self.reader.pairs(self.texts, query, item))


class SharedWords:
    """Which words queries and items have in common.

    Args:
        items: their texts.
        stemmer: see :func:`lightning_rec.models.text.bm25.stemmer_of`.
    """

    def __init__(self, items: list[str], stemmer: Any) -> None:
        self.stemmer = stemmer
        found = words_of(items, stemmer)
        self.vocabulary = found.select(pl.col("word").unique().sort()).with_row_index("code")
        self.items, self.item_words = self._read(found, len(items))

    def read(self, queries: list[str]) -> None:
        """Take other queries."""
        found = words_of(queries, self.stemmer)
        self.queries, self.query_words = self._read(found, len(queries))

    def columns(self, query: Tensor, item: Tensor) -> list[Tensor]:
        """The features ``WORDS`` of pairs, int64 [P] codes: float32 [P] each."""
        one, other = query.cpu().numpy(), item.cpu().numpy()
        both = self.queries[one].multiply(self.items[other]).sum(axis=1)
        shared = np.asarray(both, dtype=np.float32).ravel()
        own, others = self.query_words[one], self.item_words[other]
        made = (own, others, shared / np.maximum(own, 1), shared / np.maximum(others, 1))
        return [torch.from_numpy(each.astype(np.float32)).to(query.device) for each in made]

    def _read(self, found: pl.DataFrame, number: int) -> tuple[sparse.csr_array, NDArray[Any]]:
        """Whether each text has each word of the catalogue, [number, W], and how many it has."""
        once = found.unique(maintain_order=True)
        counts = np.bincount(once["row"], minlength=number)
        known = once.join(self.vocabulary, on="word", how="inner", maintain_order="left")
        place: tuple[Ints, Ints] = (known["row"].to_numpy(), known["code"].to_numpy())
        ones = np.ones(len(known), dtype=np.float32)
        shape = (number, max(1, len(self.vocabulary)))
        return sparse.csr_array((ones, place), shape=shape), counts


def _laid_out(block: Block, scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Items (-1: none) and scores (-inf) of a block, [B, C], and how many there are, int64 [B]."""
    size, device = len(block.queries), scores.device
    number = torch.bincount(block.at, minlength=size)
    place = torch.arange(len(block.at), device=device) - (number.cumsum(0) - number)[block.at]
    items = torch.full((size, most), -1, dtype=torch.int64, device=device)
    made = torch.full((size, most), -torch.inf, device=device)
    items[block.at, place], made[block.at, place] = block.item, scores
    return items, made, number
