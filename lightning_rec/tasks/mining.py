"""Negatives: items that score high for a query and are not relevant to it, or any.

Karpukhin et al., EMNLP 2020 (section 3.2) take them from BM25; Xiong et al., Approximate Nearest
Neighbor Negative Contrastive Learning, ICLR 2021, arXiv:2007.00808, from the model that learns.
"""

from typing import Any, ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from lightning_rec.data.matching.splits import Matches
from lightning_rec.losses.negatives import is_positive
from lightning_rec.retrieval.texts import TextRetriever

BLOCK = 1024  # queries that are looked up at once


class HardNegatives:
    """Draws from the best items of each training query that are not judged relevant to it.

    Args:
        matches: the pairs.
        positives: whether what learns takes relevant pairs alone; else the other judged pairs are
            pairs of the batch already, and are not drawn either.
        by: finds the items, once, before training; None: the model itself does, before each epoch.
        number: items drawn for each pair.
        depth: how many of the best are drawn from.

    Raises ValueError if more are to be drawn than there are to draw from.
    """

    kind: ClassVar[str] = "matching"
    graded: ClassVar[bool] = True  # what is drawn is judged to be of relevance 0

    def __init__(
        self,
        matches: Matches,
        positives: bool,
        by: Any = None,
        number: PositiveInt = 1,
        depth: PositiveInt = 30,
    ) -> None:
        if number > depth:
            raise ValueError(f"number={number} must not be more than depth={depth}")
        self.matches, self.number, self.depth = matches, number, depth
        self.by: TextRetriever | None = by
        self.keys = torch.from_numpy(matches.pairs.no_negatives(positives))
        self.best: Tensor | None = None  # int64 [Q, depth], -1 for what may not be drawn

    def refresh(self, itself: TextRetriever, device: torch.device) -> None:
        """An epoch begins: look for items, unless they would be the same again."""
        if self.best is not None and self.by is not None:
            return
        retriever = self.by or itself
        retriever.renew()
        pairs, train = self.matches.pairs, torch.from_numpy(self.matches.train)
        self.best = torch.full((pairs.num_queries, self.depth), -1)
        for query in torch.split(train, BLOCK):
            items = retriever.top(query.to(device), self.depth).items.cpu()
            barred = is_positive(self.keys, items, query, pairs.num_items)
            self.best[query, : items.shape[1]] = items.masked_fill(barred, -1)

    def draw(self, query: Tensor) -> Tensor:
        """Items for queries, int64 [B], drawn by torch's generator: int64 [B, number], or -1."""
        assert self.best is not None
        best = self.best[query.cpu()]
        chance = torch.rand(best.shape).masked_fill(best < 0, -1.0)
        drawn = torch.topk(chance, self.number, dim=1).indices
        return best.gather(1, drawn).to(query.device)


class RandomNegatives:
    """Draws from the whole catalogue what is not relevant to a query.

    With one for each pair, on pairs of what came next, this is next-sentence prediction (Devlin et
    al., NAACL 2019, section 3.1): half of the second texts are those that followed.

    Args:
        matches, positives, number: see :class:`HardNegatives`.
    """

    kind: ClassVar[str] = "matching"
    graded: ClassVar[bool] = True
    by: ClassVar[None] = None
    best: Tensor | None = None  # nothing is looked up

    def __init__(self, matches: Matches, positives: bool, number: PositiveInt = 1) -> None:
        self.number, self.num_items = number, matches.pairs.num_items
        self.keys = torch.from_numpy(matches.pairs.no_negatives(positives))

    def refresh(self, itself: TextRetriever, device: torch.device) -> None:
        """An epoch begins, which changes nothing."""

    def draw(self, query: Tensor) -> Tensor:
        """Items for queries, int64 [B], drawn by torch's generator: int64 [B, number]; -1 for one
        that is relevant.
        """
        items = torch.randint(self.num_items, (len(query), self.number))
        barred = is_positive(self.keys, items, query.cpu(), self.num_items)
        return items.masked_fill(barred, -1).to(query.device)
