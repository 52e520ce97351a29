"""Exact top-k retrieval over a whole catalogue, and the ranks of items that are asked about.

Every item is scored, in blocks, so that the scores of all are never kept. Ties, and scores that are
not a number, count against the model: a rank is the worst one that the item could have. In lists,
the lower code comes first.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_rec.metrics.targets import rank_among
from lightning_rec.models.at_once import bytes_at_once
from lightning_rec.models.base import ScoresAmong, SequenceModel
from lightning_rec.models.best import best as best_of

SCORE_BYTES = 8 * 2**20  # scores that a processor's cache holds
LOWEST = torch.finfo(torch.float32).min

Score = Callable[[int, int], Tensor]
"""Scores of the items from ``start`` to ``stop`` for B queries: float32 [B, stop - start]."""

Adjust = Callable[[Tensor, int, int], Tensor]
"""What becomes of scores, float32 [B, stop - start], of the items from ``start`` to ``stop``."""


class Pairs(NamedTuple):
    """S pairs of a query and an item, both int64 [S].

    row: row of the query.  item: item code, -1 for one that is no candidate.
    """

    row: Tensor
    item: Tensor

    @classmethod
    def none(cls, device: torch.device) -> "Pairs":
        """No pair."""
        empty = torch.zeros(0, dtype=torch.int64, device=device)
        return cls(empty, empty)

    def of_rows(self, start: int, number: int) -> tuple[Tensor, "Pairs"]:
        """Places, int64 [S'], of the pairs of ``number`` rows, and these, from ``start`` on."""
        here = ((self.row >= start) & (self.row < start + number)).nonzero()[:, 0]
        return here, Pairs(self.row[here] - start, self.item[here])

    def only(self, rows: Tensor) -> "Pairs":
        """Those of some rows, int64 [m], by their place among them."""
        most = max(int(each.max()) + 1 if len(each) else 0 for each in (self.row, rows))
        place = torch.full((most,), -1, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        here = place[self.row] >= 0
        return Pairs(place[self.row[here]], self.item[here])


class Found(NamedTuple):
    """What was found for B queries, and where the S items are that were asked about.

    items: int64 [B, k], best first, -1 where there were no more candidates.  scores: float [B, k].
    rank: int64 [S], from 1; 0 for an item that was no candidate or not found.  score: float [S].
    candidates: int64 [B], items that were ranked.
    """

    items: Tensor
    scores: Tensor
    rank: Tensor
    score: Tensor
    candidates: Tensor


class Retriever(Protocol):
    """Finds the best items of a catalogue for queries."""

    longest: int

    def top(
        self, queries: Tensor, k: int, ask: Pairs | None = None, left_out: Pairs | None = None
    ) -> Found:
        """Find the ``k`` best items, ``longest`` at most, of B queries.

        ``queries``: what the retriever reads, float [B, Q] or int64 [B]. ``ask``: whose ranks are
        asked for. ``left_out``: what is no candidate, such as items that were seen; what is asked
        for stays.
        """
        ...


class ModelRetriever:
    """Ranks the catalogue of a sequence model for queries that it has made, float [B, Q].

    ``floor``: a score no higher says that an item was not found. ``score_bytes``: memory that
    scores may take, None for what suits the device; a larger catalogue is scored in blocks, twice:
    once for the scores of what is asked, once to count what is above them. ``adjust``: changes
    scores, and makes -inf of what is no candidate for any query.
    """

    def __init__(
        self,
        model: SequenceModel,
        floor: float = -torch.inf,
        score_bytes: int | None = None,
        adjust: Adjust | None = None,
    ) -> None:
        self.model, self.floor, self.score_bytes = model, floor, score_bytes
        self.adjust = adjust
        self.longest = model.schema.num_items

    def top(
        self, queries: Tensor, k: int, ask: Pairs | None = None, left_out: Pairs | None = None
    ) -> Found:
        """See :class:`Retriever`."""
        none = Pairs.none(queries.device)
        ask, left_out = ask or none, left_out or none
        queries, size = among(self.model, queries, ask, left_out), len(queries)
        held = self.score_bytes or bytes_at_once(queries.device, SCORE_BYTES)
        width = min(2**24, max(1, held // (4 * max(1, size))))

        def score(start: int, stop: int) -> Tensor:
            whole = start == 0 and stop == self.longest
            block = None if whole else torch.arange(start, stop, device=queries.device)
            scores = lowest_if_no_number(_exact(self.model, queries, block))
            return scores if self.adjust is None else self.adjust(scores, start, stop)

        return rank_blocks(score, size, self.longest, k, ask, left_out, self.floor, width)


def among(model: SequenceModel, queries: Tensor, ask: Pairs, left_out: Pairs) -> Tensor:
    """Queries of a model whose scores depend on the other candidates; of any other as they are.

    ``queries``: float [B, Q]. ``ask``, ``left_out``: see :class:`Retriever`.
    """
    if not isinstance(model, ScoresAmong):
        return queries
    with torch.autocast(queries.device.type, enabled=False):
        return model.among(queries, *but_asked(left_out, ask, model.schema.num_items))


def rank_blocks(
    score: Score,
    size: int,
    num_items: int,
    k: int,
    ask: Pairs,
    left_out: Pairs,
    floor: float = -torch.inf,
    width: int | None = None,
) -> Found:
    """Rank the catalogue for B queries, without approximation; see :class:`Found`.

    ``score``: see :data:`Score`; its answer may be changed. ``size``: B. ``k``, ``ask``,
    ``left_out``: see :class:`Retriever`. ``floor``: a score no higher says that an item was not
    found. ``width``: items of a block; None: all.
    """
    width = width or num_items
    starts = range(0, num_items, width)
    row, item = ask
    out_row, out_item = but_asked(left_out, ask, num_items)
    own = torch.full_like(item, -torch.inf, dtype=torch.float32)
    scores = own
    for start in starts:
        scores = score(start, min(num_items, start + width))
        inside = ((item >= start) & (item < start + width)).nonzero()[:, 0]
        own[inside] = scores[row[inside], item[inside] - start]
    ahead = torch.zeros_like(item)  # the item itself among them
    best, items = own.new_empty(size, 0), item.new_empty(size, 0)
    one_each = len(row) == size and torch.equal(row, torch.arange(size, device=row.device))
    for start in starts:
        stop = min(num_items, start + width)
        if len(starts) > 1:
            scores = score(start, stop)
        inside = (out_item >= start) & (out_item < stop)
        scores[out_row[inside], out_item[inside] - start] = -torch.inf
        for some in torch.arange(len(row), device=row.device).split(max(1, size)):
            of = scores if one_each else scores[row[some]]
            # Counted in floats: a sum of truth values goes by way of 64-bit integers, eight times
            # as much memory. A block has fewer columns than a float counts without error.
            ahead[some] += (of >= own[some, None]).float().sum(dim=1).long()
        block = best_of(scores, k, floor=floor)
        best = torch.cat([best, block.values], dim=1)
        items = torch.cat([items, block.indices + start], dim=1)
        if len(starts) > 1:
            best, order = best_of(best, k, floor=floor)  # columns of equal scores are in order
            items = items.gather(1, order)
    return Found(
        items.masked_fill(best <= floor, -1),
        best,
        torch.where(own > floor, ahead, 0),
        own,
        num_items - torch.bincount(out_row, minlength=size),
    )


def rank_sample(
    model: SequenceModel,
    queries: Tensor,
    target: Tensor,
    candidates: Tensor,
    left_out: Pairs | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank each target among a sample of its own; see :func:`rank_among`.

    ``queries``: float [B, Q]. ``target``: int64 [B], -1 for one that is no candidate.
    ``candidates``: int64 [B, n], -1 where there is no item. ``left_out``: what is no candidate
    among the whole catalogue, by which some models compare scores. Returns rank and candidates,
    int64 [B].
    """
    asked = Pairs(torch.arange(len(target), device=target.device), target)
    queries = among(model, queries, asked, left_out or Pairs.none(target.device))
    scores = _exact(model, queries, candidates.clamp(min=0))
    own = _exact(model, queries, target.clamp(min=0)[:, None])[:, 0]
    return rank_among(own, scores, known=target >= 0, mask=candidates >= 0)


def lowest_if_no_number(scores: Tensor) -> Tensor:
    """Scores, float32, changed in place: what is not a number is the lowest there is.

    From here on -inf means left out.
    """
    return scores.float().nan_to_num_(nan=LOWEST, neginf=LOWEST)


def _exact(model: SequenceModel, queries: Tensor, items: Tensor | None) -> Tensor:
    """Scores, float32: in half precision, many items would have one and the same."""
    device = queries.device.type
    if torch.is_autocast_enabled(device) and queries.is_floating_point():
        queries = queries.float()
    with torch.autocast(device, enabled=False):
        return model.scores(queries, items).float()


def but_asked(pairs: Pairs, ask: Pairs, num_items: int) -> Pairs:
    """Pairs, each once, without those that are asked for."""
    keys = torch.unique(pairs.row * num_items + pairs.item)
    known = ask.item >= 0
    asked = ask.row[known] * num_items + ask.item[known]
    if len(keys):  # sorted, so that looking up is sooner than comparing all
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        keep = torch.ones_like(keys, dtype=torch.bool)
        keep[place[keys[place] == asked]] = False
        keys = keys[keep]
    return Pairs(keys // num_items, keys % num_items)
