"""The catalogue ranked piece by piece: no result changes, and the memory of scores is bound."""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_rec.metrics.targets import rank_among
from lightning_rec.models.base import SequenceModel

SCORE_BYTES = 8 * 2**20  # scores held at once in evaluation: what a processor's cache holds


class Ranked(NamedTuple):
    """The catalogue ranked for B users, all int64.

    rank: [B], of the target, from 1; 0 for a target that is no candidate.
    candidates: [B], items ranked, the target among them.
    top: [B, k], the best items, best first, -1 where there were no more candidates.
    """

    rank: Tensor
    candidates: Tensor
    top: Tensor


def rank_catalogue(
    model: SequenceModel,
    queries: Tensor,
    target: Tensor,
    seen: tuple[Tensor, Tensor],
    k: int,
    score_bytes: int = SCORE_BYTES,
) -> Ranked:
    """Rank each target among all items but those left out as seen, without approximation.

    Ties, and scores that are not a number, count against the model: the rank is the worst one the
    target could have. The target itself is never left out: where seen items are, a split has no
    target that was seen.

    Args:
        model: scores items.
        queries: float [B, Q].
        target: int64 [B], -1 for a target that is no candidate.
        seen: int64 [S] rows of ``queries`` and int64 [S] items, the pairs to leave out.
        k: length of the lists of best items.
        score_bytes: memory that scores may take; a larger catalogue is scored in blocks, twice:
            once for the targets' scores, once to count what is above them.
    """
    size, num_items = len(queries), model.schema.num_items
    width = min(2**24, max(1, score_bytes // (4 * max(1, size))))
    starts = range(0, num_items, width)
    left_out = _pairs_left_out(target, seen, num_items)
    wanted = queries.new_full((size, 1), -torch.inf, dtype=torch.float32)
    scores = queries.new_empty(0)
    for start in starts:
        scores = _scores(model, queries, start, min(num_items, start + width))
        row = ((target >= start) & (target < start + width)).nonzero()[:, 0]
        wanted[row, 0] = scores[row, target[row] - start]
    ahead = torch.zeros_like(target)  # the target itself among them
    best = queries.new_empty(size, 0, dtype=torch.float32)
    items = target.new_empty(size, 0)
    for start in starts:
        stop = min(num_items, start + width)
        if len(starts) > 1:
            scores = _scores(model, queries, start, stop)
        row, item = left_out
        inside = (item >= start) & (item < stop)
        scores[row[inside], item[inside] - start] = -torch.inf
        # Counted in floats: a sum of truth values goes by way of 64-bit integers, eight times as
        # much memory. A block has fewer columns than a float counts without error.
        ahead += (scores >= wanted).float().sum(dim=1).long()
        block = torch.topk(scores, min(k, stop - start), dim=1)
        best = torch.cat([best, block.values], dim=1)
        items = torch.cat([items, block.indices + start], dim=1)
        if len(starts) > 1:
            best, order = torch.topk(best, min(k, best.shape[1]), dim=1)
            items = items.gather(1, order)
    candidates = num_items - torch.bincount(left_out[0], minlength=size)
    known = target >= 0
    return Ranked(ahead * known, candidates, items.masked_fill(torch.isneginf(best), -1))


def rank_sample(
    model: SequenceModel, queries: Tensor, target: Tensor, candidates: Tensor
) -> tuple[Tensor, Tensor]:
    """Rank each target among a sample of its own; see :func:`rank_among`.

    Args:
        model: scores items.
        queries: float [B, Q].
        target: int64 [B], -1 for a target that is no candidate.
        candidates: int64 [B, n], -1 where there is no item.

    Returns:
        rank, candidates: int64 [B].
    """
    scores = _exact(model, queries, candidates.clamp(min=0))
    wanted = _exact(model, queries, target.clamp(min=0)[:, None])[:, 0]
    return rank_among(wanted, scores, known=target >= 0, mask=candidates >= 0)


def _scores(model: SequenceModel, queries: Tensor, start: int, stop: int) -> Tensor:
    """Scores of the items from ``start`` to ``stop``; from here on, -inf will mean left out."""
    whole = start == 0 and stop == model.schema.num_items
    block = None if whole else torch.arange(start, stop, device=queries.device)
    scores = _exact(model, queries, block)
    lowest = torch.finfo(scores.dtype).min
    return scores.nan_to_num_(nan=lowest, neginf=lowest)


def _exact(model: SequenceModel, queries: Tensor, items: Tensor | None) -> Tensor:
    """Scores, float32: in half precision, many items would have one and the same."""
    device = queries.device.type
    if torch.is_autocast_enabled(device) and queries.is_floating_point():
        queries = queries.float()
    with torch.autocast(device, enabled=False):
        return model.scores(queries, items).float()


def _pairs_left_out(
    target: Tensor, seen: tuple[Tensor, Tensor], num_items: int
) -> tuple[Tensor, Tensor]:
    """The pairs of row and item that are no candidates, each once, never a target."""
    row, item = seen
    keys = torch.unique(row * num_items + item)
    row, item = keys // num_items, keys % num_items
    kept = item != target[row]
    return row[kept], item[kept]
