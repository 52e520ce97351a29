"""The best items by rules: exact, as what is filtered is so before the best are taken."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.types import Ints
from lightning_rec.models.base import Retrieves, SequenceModel
from lightning_rec.predict.asking import Asked, Catalogue
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.exact import Found, Pairs, Retriever
from lightning_rec.rules.choosing import Chosen, Pool, choose
from lightning_rec.rules.exploring import Chance

if TYPE_CHECKING:
    from lightning_rec.rules.ready import Ready

Top = Callable[[Tensor, int], Found]
"""The best so many items of some rows, int64 [m]."""


class Lists(NamedTuple):
    """Entries of lists, those of a row in their order.

    row, rank (from 1), item: int64 [S]. score: float32 [S]. propensity: float64 [S], or None.
    """

    row: Ints
    rank: Ints
    item: Ints
    score: NDArray[np.float32]
    propensity: NDArray[np.float64] | None


_none = np.zeros(0, dtype=np.int64)
NOTHING = Lists(_none, _none, _none, np.zeros(0, np.float32), np.zeros(0))


def best_of(
    retriever: Retriever, queries: Tensor, left_out: Pairs, rows: Tensor, most: int
) -> Found:
    """The best ``most`` items of some rows of ``queries``, but for what is left out of each."""
    if len(rows) == len(queries):
        return retriever.top(queries, most, left_out=left_out)
    return retriever.top(queries[rows], most, left_out=left_out.only(rows))


def top_of(
    retriever: Retriever,
    queries: Tensor,
    left_out: Pairs,
    model: SequenceModel,
    ready: "Ready | None",
) -> Top:
    """What gives the best items of rows of ``queries``; a model that finds its candidates itself
    does so once, among what the filters of ``ready`` leave.
    """
    if isinstance(model, Retrieves):
        kept = None if ready is None else ready.allowed
        allowed = None if kept is None else torch.from_numpy(kept).to(queries.device)
        queries = model.retrieve(queries, *left_out, allowed)
    return partial(best_of, retriever, queries, left_out)


def plain_lists(found: Found) -> Lists:
    """Lists in the order of scores."""
    row, place = (found.items >= 0).nonzero(as_tuple=True)
    items, scores = found.items[row, place], found.scores[row, place].float()
    return Lists(row.numpy(), (place + 1).numpy(), items.numpy(), scores.numpy(), None)


def ruled_lists(
    top: Top,
    keys: NDArray[np.uint64],
    k: int,
    num_items: int,
    ready: "Ready",
    told: Told,
    taste: Tensor | None = None,
) -> Lists:
    """Lists of ``k`` items that rules choose among the best.

    ``top`` scores the whole catalogue, boosts and filters applied. Candidates are doubled for rows
    whose list, in the order of scores, caps would leave short, and for the places of a list that
    what was chosen so leaves empty. ``keys``: uint64 [B], of chance. ``taste``: of the histories,
    float64 [B, groups], see :func:`lightning_rec.rules.calibrating.tastes`.
    """
    rows, wanted = torch.arange(len(keys)), ready.rules.candidates(k, num_items)
    parts: list[Lists] = []
    before: Chosen | None = None
    while len(rows):
        found = top(rows, wanted)
        pool = Pool(found.items, found.scores.double())
        plain = choose(pool, k, ready.caps)
        own = None if taste is None else taste[rows]
        chosen = _chosen(pool, plain, before, keys[rows.numpy()], k, ready, own)
        whole = (pool.items[:, -1] < 0) | (wanted >= num_items)
        by_order = (plain.place[:, -1] < 0) & ~whole
        short = (chosen.place[:, -1] < 0) & ~whole
        done = ~(by_order | short)
        parts.append(_listed(pool, plain, chosen, done, rows, k, ready, told, own))
        chosen.place[by_order] = -1  # from a pool that is too small in any order
        before = _only(chosen, ~done)
        rows, wanted = rows[~done], min(num_items, 2 * wanted)
    joined = [None if p[0] is None else np.concatenate(p) for p in zip(*parts, strict=True)]
    return Lists(*joined)  # type: ignore[arg-type]


def _chosen(
    pool: Pool,
    plain: Chosen,
    before: Chosen | None,
    keys: NDArray[np.uint64],
    k: int,
    ready: "Ready",
    taste: Tensor | None,
) -> Chosen:
    """The lists of some rows; ``plain``: what the best scores alone would give."""
    value = ready.value(pool, taste)
    if value is None and ready.draw is None:
        return plain
    chance = Chance(keys, ready.rules.seed)
    return choose(pool, k, ready.caps, value, ready.draw, chance, before)


def _only(chosen: Chosen, which: Tensor) -> Chosen:
    drawn = chosen.propensity
    return Chosen(chosen.place[which], None if drawn is None else drawn[which])


def _listed(
    pool: Pool,
    plain: Chosen,
    chosen: Chosen,
    done: Tensor,
    rows: Tensor,
    k: int,
    ready: "Ready",
    told: Told,
    taste: Tensor | None,
) -> Lists:
    """The lists of those rows that are ``done``, bool [B], and what they cost."""
    pool, rows = Pool(pool.items[done], pool.scores[done]), rows[done]
    plain, chosen = _only(plain, done), _only(chosen, done)
    best = choose(pool, k, []) if ready.caps else plain  # without caps, which cost as well
    told.compare(pool, best, chosen, ready.features)
    if taste is not None and ready.group is not None:
        told.calibrated(pool, best, chosen, ready.group, taste[done])
    row, rank = (chosen.place >= 0).nonzero(as_tuple=True)
    place = chosen.place[row, rank]
    propensity = None if chosen.propensity is None else chosen.propensity[row, rank].numpy()
    items, scores = pool.items[row, place].numpy(), pool.scores[row, place].float().numpy()
    return Lists(rows[row].numpy(), (rank + 1).numpy(), items, scores, propensity)


def shown(
    parts: list[Lists], asked: Asked, k: int, catalogue: Catalogue, told: Told, *, drawn: bool
) -> pl.DataFrame:
    """Lists as a frame, in the order that they were asked for; ``drawn``: with propensities."""
    row, rank, item, score = (np.concatenate([part[i] for part in parts]) for i in range(4))
    told.count(np.bincount(row, minlength=len(asked.key)), np.diff(asked.offsets), k)
    found = catalogue.ranked(asked.key.gather(row), rank, item, score)
    if drawn:
        chance = [part.propensity for part in parts if part.propensity is not None]
        found = found.with_columns(propensity=pl.Series(np.concatenate(chance)))
    return found.with_columns(_place=pl.Series(row)).sort("_place", "rank").drop("_place")
