"""From candidates in the order of their scores to a list: at most n of a group, and unlike items.

All lists are made at once, a place at a time.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lightning_rec.rules.exploring import Chance, Draw

_NOTHING = 1e-10  # a determinant that grows by less has no more to gain
_LAST = -1e6  # added to the relevance of what adds nothing


class Pool(NamedTuple):
    """Candidates of B lists, best first: items int64 [B, M], -1 for none; scores float64 [B, M]."""

    items: Tensor
    scores: Tensor

    @property
    def relevance(self) -> Tensor:
        """Scores from 0, the lowest of the list's candidates, to 1, the highest: float64 [B, M]."""
        there = self.items >= 0
        high = self.scores.where(there, -torch.inf).amax(1, keepdim=True)
        low = self.scores.where(there, torch.inf).amin(1, keepdim=True)
        wide = (high - low).where(high > low, torch.ones_like(high))
        return ((self.scores - low) / wide).where(there, 0).nan_to_num()


class Cap(NamedTuple):
    """At most ``most`` items of a group. group: int64 [V, G], those of an item, -1 for none."""

    group: Tensor
    most: int


class Value(Protocol):
    """What each candidate is worth, given those chosen already."""

    def now(self) -> Tensor:
        """Float64 [B, M]."""
        ...

    def chose(self, place: Tensor) -> None:
        """Take note of what was chosen: places among the candidates, int64 [B]."""
        ...


class Score:
    """The score, whatever is chosen."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def now(self) -> Tensor:
        """See :class:`Value`."""
        return self.pool.scores

    def chose(self, place: Tensor) -> None:
        """See :class:`Value`."""


class Marginal:
    """Maximal marginal relevance: (1 - d) relevance - d times the likeness to the likest chosen.

    Carbonell & Goldstein 1998, "The Use of MMR, Diversity-Based Reranking", section 2.
    ``features``: float [V, D] of length 1, whose inner products are the likeness, from 0 to 1.
    """

    def __init__(self, pool: Pool, features: Tensor, strength: float) -> None:
        self.relevance, self.strength = pool.relevance, strength
        self.features = features[pool.items.clamp(min=0)]  # [B, M, D]
        self.likest = torch.zeros_like(self.relevance)

    def now(self) -> Tensor:
        """See :class:`Value`."""
        return (1 - self.strength) * self.relevance - self.strength * self.likest

    def chose(self, place: Tensor) -> None:
        """See :class:`Value`."""
        self.likest = torch.maximum(self.likest, likeness(self.features, place))


class Determinant:
    """The greedy list of a determinantal point process: relevant items that span much.

    The kernel is ``q_i S_ij q_j``, S the likeness, ``q = exp(a relevance)``, ``a = (1 - d) / 2d``,
    so that the logarithm of a determinant is in proportion to (1 - d) times the relevance and
    d times log det S (Chen, Zhang & Zhou 2018, "Fast Greedy MAP Inference for Determinantal Point
    Process to Improve Recommendation Diversity", algorithm 1 and section 4). What adds nothing to
    the span comes last, by relevance.
    """

    def __init__(self, pool: Pool, features: Tensor, strength: float) -> None:
        self.relevance = pool.relevance
        # In float64: what adds nothing would add the rounding errors of float32.
        self.features = features[pool.items.clamp(min=0)].double()
        self.log_quality = (1 - strength) / (2 * strength) * self.relevance
        # What Cholesky's factor of S leaves of its diagonal, and its rows so far: float64 [B, M].
        self.rest = (self.features**2).sum(-1)
        self.rows: list[Tensor] = []

    def now(self) -> Tensor:
        """See :class:`Value`."""
        gained = 2 * self.log_quality + self.rest.clamp(min=_NOTHING).log()
        return gained.where(self.rest > _NOTHING, _LAST + self.relevance)

    def chose(self, place: Tensor) -> None:
        """See :class:`Value`."""
        at = place[:, None]
        rest = self.rest.gather(1, at)
        row = likeness(self.features, place)
        for before in self.rows:
            row = row - before.gather(1, at) * before
        row = row / rest.clamp(min=_NOTHING).sqrt()
        row = row.where(rest > _NOTHING, 0)  # it spans nothing of its own
        self.rows.append(row)
        self.rest = self.rest - row**2


def likeness(features: Tensor, place: Tensor) -> Tensor:
    """Inner products of all candidates, float [B, M, D], with one of each list: float64 [B, M]."""
    own = features.take_along_dim(place[:, None, None], 1)  # [B, 1, D]
    return torch.bmm(features, own.transpose(1, 2))[:, :, 0].double()


class Chosen(NamedTuple):
    """Lists: places among the candidates, int64 [B, k], -1 for none; propensities, float64."""

    place: Tensor
    propensity: Tensor | None


def choose(
    pool: Pool,
    k: int,
    caps: list[Cap],
    value: Value | None = None,
    draw: Draw | None = None,
    chance: Chance | None = None,
    before: Chosen | None = None,
) -> Chosen:
    """Fill ``k`` places of each list, from the first, with the candidate of the highest value.

    ``draw``: gives a place away by chance instead; the propensity of an item is then the
    probability of its place being its, given the places before. ``before``: the places that were
    filled from fewer candidates, the first of these.
    """
    value = value or Score(pool)
    free, number = pool.items >= 0, len(pool.items)
    row = torch.arange(number)
    groups = [cap.group[pool.items.clamp(min=0)] for cap in caps]  # [B, M, G]
    counts = [torch.zeros(number, int(cap.group.max()) + 2, dtype=torch.int64) for cap in caps]
    places, propensities = [], []
    for place in range(k):
        left = value.now().where(free, -torch.inf)
        some = free.any(1)
        if draw is None or chance is None:
            picked, probable = left.argmax(1), torch.ones(number, dtype=torch.float64)
        else:
            picked, probable = draw.pick(left, pool.items, chance, place)
        if before is not None:
            kept = before.place[:, place] >= 0
            picked, some = torch.where(kept, before.place[:, place], picked), some | kept
            if before.propensity is not None:
                probable = torch.where(kept, before.propensity[:, place], probable)
        places.append(picked.where(some, -1))
        propensities.append(probable.where(some, torch.nan))
        if place == k - 1:
            break
        value.chose(picked)
        free[row, picked] = False
        for cap, group, count in zip(caps, groups, counts, strict=True):
            chosen = group[row, picked]  # [B, G]
            count.scatter_add_(1, chosen + 1, some[:, None].expand_as(chosen).long())
            count[:, 0] = 0  # of items in no group
            flat = (group + 1).flatten(1)
            full = (count.gather(1, flat) >= cap.most).view_as(group).any(-1)
            free &= ~full
    if not places:
        places, propensities = [row.new_zeros(number, 0)], []
        return Chosen(places[0], None)
    return Chosen(torch.stack(places, 1), torch.stack(propensities, 1) if draw else None)
