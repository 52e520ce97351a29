"""The best items of the whole catalogue for queries: retrieved, and perhaps re-ranked.

Every item is scored, some queries at a time, so that the scores of all are never kept. Ties, and
scores that are not a number, count against the model.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lightning_rec.language.cached import read_all, weights_hash
from lightning_rec.language.encoder import TextEncoder
from lightning_rec.language.tokens import Tokenized
from lightning_rec.models.text.matcher import CatalogueScorer, Texts, TextScorer

SCORE_BYTES = 32 * 2**20  # scores held at once

Make = Callable[[TextEncoder, Tokenized], Tensor]


class Found(NamedTuple):
    """What was found for B queries, and where the S items are that were asked about.

    items: int64 [B, k], best first, -1 where nothing more was found.  scores: float [B, k].
    rank: int64 [S], from 1; 0 for an item that was not found.  score: float [S].
    """

    items: Tensor
    scores: Tensor
    rank: Tensor
    score: Tensor


class Retriever(Protocol):
    """Finds items for queries."""

    texts: Texts
    longest: int

    def renew(self) -> None:
        """Look whether weights have moved; what was made of the catalogue is then forgotten."""
        ...

    def __call__(self, query: Tensor, k: int, pairs: tuple[Tensor, Tensor] | None = None) -> Found:
        """Find the ``k`` best items, ``longest`` at most, of queries, int64 [B].

        ``pairs``: int64 [S] rows of ``query`` and int64 [S] items whose ranks are asked for.
        """
        ...


class ExactRetriever:
    """Scores the whole catalogue.

    Args:
        model: scores it.
        texts: queries and catalogue, as the model reads them.
        make: makes a vector of each item; asked when the first query comes, and again after
            :meth:`renew` has found that the weights have moved.
    """

    def __init__(self, model: CatalogueScorer, texts: Texts, make: Make | None = None) -> None:
        self.model, self.texts, self.make = model, texts, make or read_all
        self.longest = len(texts.items)
        self._index: tuple[Tensor | None] | None = None  # None until there is one
        self._weights = ""  # hash of those that it was made by

    def renew(self) -> None:
        """See :class:`Retriever`."""
        weights = weights_hash(self.model)
        if weights != self._weights:
            self._index, self._weights = None, weights

    @torch.no_grad()
    def __call__(self, query: Tensor, k: int, pairs: tuple[Tensor, Tensor] | None = None) -> Found:
        """See :class:`Retriever`."""
        row, item = pairs or (query.new_zeros(0), query.new_zeros(0))
        k = min(k, self.longest)
        rank, score = torch.zeros_like(item), torch.zeros(len(item), device=item.device)
        items, scores = [query.new_zeros(0, k)], [score.new_zeros(0, k)]
        step = max(1, SCORE_BYTES // (4 * self.longest))
        with evaluating(self.model):
            if self._index is None:
                self._index = (self.model.index(self.texts.items, self.make),)
            (index,) = self._index
            for start in range(0, len(query), step):
                codes = query[start : start + step]
                tokens = self.texts.queries.take(codes.cpu().numpy()).to(query.device)
                block = _sound(self.model.against(tokens, index))
                inside = ((row >= start) & (row < start + len(codes))).nonzero()[:, 0]
                for some in torch.split(inside, step):
                    of = block[row[some] - start]  # [S', N]
                    own = of.gather(1, item[some, None])
                    ahead = (of >= own).sum(dim=1)
                    rank[some] = torch.where(own[:, 0] > self.model.floor, ahead, 0)
                    score[some] = own[:, 0]
                best = torch.topk(block, k, dim=1)
                items.append(best.indices.masked_fill(best.values <= self.model.floor, -1))
                scores.append(best.values)
        return Found(torch.cat(items), torch.cat(scores), rank, score)


class Reranker:
    """Re-ranks what another one retrieves; what lies beyond keeps its place.

    Args:
        model: scores pairs.
        texts: queries and catalogue, as the model reads them.
        first: finds what is re-ranked.
        number: how many of the best.
    """

    def __init__(self, model: TextScorer, texts: Texts, first: ExactRetriever, number: int) -> None:
        self.model, self.texts, self.first = model, texts, first
        self.longest = min(number, first.longest)

    def renew(self) -> None:
        """See :class:`Retriever`."""
        self.first.renew()

    @torch.no_grad()
    def __call__(self, query: Tensor, k: int, pairs: tuple[Tensor, Tensor] | None = None) -> Found:
        """See :class:`Retriever`."""
        found = self.first(query, self.longest, pairs)
        row, place = (found.items >= 0).nonzero(as_tuple=True)
        scores = torch.full_like(found.scores, -torch.inf)
        with evaluating(self.model):
            of_pairs = self.model.pairs(self.texts, query[row], found.items[row, place])
            scores[row, place] = _sound(of_pairs)
            score, rank = found.score, found.rank
            if pairs is not None:
                score = self.model.pairs(self.texts, query[pairs[0]], pairs[1])
                rank = _ranked_again(found, scores, *pairs)
        best = torch.topk(scores, min(k, self.longest), dim=1)
        items = found.items.gather(1, best.indices)
        return Found(items, best.values, rank, score)


def _ranked_again(found: Found, scores: Tensor, row: Tensor, item: Tensor) -> Tensor:
    """Ranks of the items asked about, int64 [S]: new ones for those that were re-ranked."""
    hit = found.items[row] == item[:, None]  # [S, number]
    own = scores[row].masked_fill(~hit, -torch.inf).amax(dim=1, keepdim=True)
    again = (scores[row] >= own).sum(dim=1)
    return torch.where(hit.any(dim=1), again, found.rank)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Let a model evaluate for a while, in the midst of training perhaps."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _sound(scores: Tensor) -> Tensor:
    """Scores with what is not a number as the lowest there is."""
    lowest = torch.finfo(torch.float32).min
    return scores.float().nan_to_num(nan=lowest, neginf=lowest)
