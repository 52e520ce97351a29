"""What the place in a list does to a language model that ranks the list.

Hou et al., ECIR 2024, arXiv:2305.08845. In random orders each item stands anywhere as often as
anywhere else, so that whatever differs by place is the model's own. Shapes: N lists, R random
orders of each, n places. Intervals are percentile bootstraps over lists, since the orders of one
list are not independent.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 2000
CUTOFF = 10  # of ndcg by the place of the target


class Interval(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def by_place(scores: Floats) -> dict[str, list[Interval]]:
    """Of the scores of what stands at each place, float [N, R, n]: ``first``, the share of readings
    that put it on top, and its ``rank``, from 1, in the mean. Equal scores share.
    """
    top = scores == scores.max(axis=2, keepdims=True)
    share = (top / top.sum(axis=2, keepdims=True)).mean(axis=1)
    rank = _ranks(scores).mean(axis=1)
    return {"first": intervals(share), "rank": intervals(rank)}


def effects(shown: Ints, scores: Floats) -> list[Interval]:
    """What each place adds to the score of an item, beyond the item's mean over orders: [n] means.

    It is 0 for a model that cares for the items alone. ``shown``: int64 [N, R, n], items.
    """
    order = shown.argsort(axis=2, kind="stable")
    mean = np.take_along_axis(scores, order, axis=2).mean(axis=1, keepdims=True)  # by item
    own = np.take_along_axis(np.broadcast_to(mean, scores.shape), order.argsort(axis=2), axis=2)
    return intervals((scores - own).mean(axis=1))


def agreement(shown: Ints, scores: Floats) -> Interval:
    """Kendall's tau-a between the rankings of two orders of a list, in the mean over pairs."""
    order = shown.argsort(axis=2, kind="stable")
    of_items = np.take_along_axis(scores, order, axis=2)
    one, other = np.triu_indices(scores.shape[2], 1)
    signs = np.sign(of_items[:, :, one] - of_items[:, :, other])  # [N, R, pairs of items]
    orders = scores.shape[1]
    # The sum over pairs of orders is half of what the square of the sum has beyond the squares.
    both = (signs.sum(axis=1) ** 2 - (signs**2).sum(axis=1)) / 2
    tau = both.mean(axis=1) / (orders * (orders - 1) / 2)
    return intervals(tau[:, None])[0]


def of_target(shown: Ints, scores: Floats, target: Ints) -> dict[str, dict[str, Any]]:
    """ndcg@10 of single readings where the target stands at the ``start`` of the list, in the
    ``middle`` or at the ``end``, thirds, None where it never does; with the number of readings.
    ``target``: int64 [N].
    """
    at = shown == target[:, None, None]
    rank = np.where(at, _worst(scores), 0).sum(axis=2)
    gain = np.where(rank <= CUTOFF, 1 / np.log2(np.maximum(rank, 1) + 1), 0.0)
    third = at.argmax(axis=2) * 3 // shown.shape[2]
    there = at.any(axis=2)
    told = {}
    for number, name in enumerate(("start", "middle", "end")):
        inside = there & (third == number)
        parts = (gain * inside).sum(axis=1), inside.sum(axis=1).astype(float)
        found = ratio(*parts) if inside.any() else None
        told[name] = {"readings": int(inside.sum()), "ndcg@10": found}
    return told


def intervals(values: Floats) -> list[Interval]:
    """The mean of each column, float [N, n], over lists."""
    return [ratio(column, np.ones(len(column))) for column in values.T]


def ratio(above: Floats, below: Floats) -> Interval:
    """The sum of ``above`` over that of ``below``, float [N] of lists both; one is above 0."""
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(len(above), np.full(len(above), 1 / len(above)), RESAMPLES)
    lower = drawn @ below
    made = (drawn @ above)[lower > 0] / lower[lower > 0]
    low, high = np.quantile(made, [0.025, 0.975])
    return Interval(float(above.sum() / below.sum()), float(low), float(high))


def _ranks(scores: Floats) -> Floats:
    """From 1, of equal ones the mean."""
    one, other = scores[..., None, :], scores[..., :, None]
    return (one > other).sum(axis=-1) + ((one == other).sum(axis=-1) + 1) / 2


def _worst(scores: Floats) -> Ints:
    """From 1, of equal ones the worst, as where the catalogue is ranked."""
    made: Ints = (scores[..., None, :] >= scores[..., :, None]).sum(axis=-1)
    return made
