"""The heaviest paths between items of a knowledge graph, of many users at once.

A path of two steps is found from both ends, so that an entity with a hundred thousand neighbours
costs no more than those of them that an end is; of three steps, the two entities between are
joined by the shorter of two lists. What is kept at an entity are the heaviest beginnings alone:
weights are products, so that no other one could belong to a path that is asked for.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lightning_rec.data.graphs.steps import Steps
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Floats, Ints, Mask

ROWS = 2**20  # that are held at once, as near as may be
HOPS = 3  # at most


class Pairs(NamedTuple):
    """Entities of users: int64 [n] each, users ascending."""

    user: Ints
    entity: Ints

    def of(self, first: int, end: int) -> tuple[int, "Pairs"]:
        """Those of the users from ``first`` on before ``end``, and how many there are before."""
        low, high = np.searchsorted(self.user, [first, end])
        return int(low), Pairs(self.user[low:high], self.entity[low:high])


class Paths(NamedTuple):
    """Paths, the heaviest of a target first: int64 [P] each, but ``weight``, float64 [P].

    target: which one it leads to. begin: the entity it comes from. first, second: entities that it
    passes through, -1 for none. triple: int64 [P, 3], those of its steps, -1 for none.
    """

    target: Ints
    weight: Floats
    begin: Ints
    first: Ints
    second: Ints
    triple: Ints

    def some(self, rows: Mask) -> "Paths":
        """Some of them."""
        columns: Any = (column[rows] for column in self)
        return Paths(*columns)

    @property
    def hops(self) -> Ints:
        """How many steps it has."""
        return 1 + (self.first >= 0) + (self.second >= 0)

    def best(self, most: int) -> "Paths":
        """The ``most`` heaviest of each target, of equal ones the shorter, then by codes."""
        keys = (self.second, self.first, self.begin, self.hops, -self.weight, self.target)
        order = np.lexsort(keys)
        kept = order[places(self.target[order]) < most]
        columns: Any = (column[kept] for column in self)
        return Paths(*columns)


class _Beginnings(NamedTuple):
    """First steps of users, grouped by user and entity they lead to: the heaviest of a group.

    group: int64 [G], user x E + entity, ascending; start: int64 [G + 1], its rows.
    begin, triple: int64 [R]. weight: float64 [R].
    """

    group: Ints
    start: Ints
    begin: Ints
    triple: Ints
    weight: Floats

    @property
    def sizes(self) -> Ints:
        """How many rows a group has, int64 [G]."""
        return np.diff(self.start)

    def at(self, group: Ints) -> Ints:
        """The places of groups, int64 [n], -1 for what is none."""
        found = np.searchsorted(self.group, group)
        return np.where(np.append(self.group, -1)[found] == group, found, -1)


def best_paths(steps: Steps, history: Pairs, targets: Pairs, hops: int, most: int) -> Paths:
    """The ``most`` heaviest paths of at most ``hops`` steps from a user's history to each target.

    No path meets an entity twice. ``target`` of a path is a row of ``targets``; the pairs of
    ``history`` are distinct.
    """
    found, users = [_NONE], int(max(history.user.max(initial=-1), targets.user.max(initial=-1))) + 1
    cost = np.zeros(users)
    for pairs in (history, targets):
        cost += np.bincount(pairs.user, steps.degree[pairs.entity], users)
    for first, end in _blocks(cost):
        before, own = targets.of(first, end)
        begun = _beginnings(steps, history.of(first, end)[1], most)
        best = _NONE
        for some in _found(steps, begun, own, hops):
            best = _joined([best, some]).best(most)
        found.append(best._replace(target=best.target + before))
    return _joined(found)


def _found(steps: Steps, begun: _Beginnings, targets: Pairs, hops: int) -> Iterator[Paths]:
    """Paths to targets, some at a time."""
    entities = len(steps.degree)
    direct = begun.at(targets.user * entities + targets.entity)
    yield from _one_step(begun, np.flatnonzero(direct >= 0), direct[direct >= 0])
    if hops == 1:
        return
    row, last = ranges(steps.start[targets.entity], steps.start[targets.entity + 1])
    ends = _Ends(row, targets.user[row] * entities + steps.to[last], targets.entity[row], last)
    met = begun.at(ends.group)
    yield from _two_steps(steps, begun, ends.some(met >= 0), met[met >= 0])
    if hops > 2:
        yield from _three_steps(steps, begun, ends.some(np.argsort(ends.group, kind="stable")))


class _Ends(NamedTuple):
    """Last steps, int64 [L] each: the target, user x E + entity they begin at, the entity they lead
    to, and the step, which is told the other way round.
    """

    target: Ints
    group: Ints
    end: Ints
    step: Ints

    def some(self, rows: Ints | Mask) -> "_Ends":
        """Some of them."""
        return _Ends(*(column[rows] for column in self))


def _one_step(begun: _Beginnings, target: Ints, group: Ints) -> Iterator[Paths]:
    for first, end in _blocks(begun.sizes[group]):
        own = group[first:end]
        row, of = ranges(begun.start[own], begun.start[own + 1])
        none = np.full(len(of), -1)
        triple = np.stack([begun.triple[of], none, none], axis=1)
        yield Paths(target[first:end][row], begun.weight[of], begun.begin[of], none, none, triple)


def _two_steps(steps: Steps, begun: _Beginnings, ends: _Ends, group: Ints) -> Iterator[Paths]:
    """``group``: of the beginnings that lead to where each of ``ends`` begins."""
    for first, end in _blocks(begun.sizes[group]):
        own = group[first:end]
        row, of = ranges(begun.start[own], begun.start[own + 1])
        last = ends.some(np.arange(first, end)[row])
        through, none = last.group % len(steps.degree), np.full(len(of), -1)
        weight = begun.weight[of] * steps.through[through] * steps.weight[last.step]
        triple = np.stack([begun.triple[of], steps.triple[last.step], none], axis=1)
        paths = Paths(last.target, weight, begun.begin[of], through, none, triple)
        yield paths.some(paths.begin != last.end)


def _three_steps(steps: Steps, begun: _Beginnings, ends: _Ends) -> Iterator[Paths]:
    """``ends`` are in the order of their groups."""
    entities = len(steps.degree)
    groups, start = np.unique(ends.group, return_index=True)
    start = np.append(start, len(ends.group))
    for place, group, middle in _middles(steps, begun, groups):
        size, number = np.diff(start)[place], begun.sizes[group]
        for first, end in _blocks(size * number):
            each = np.arange(first, end)
            row, nth = ranges(np.zeros(len(each), dtype=np.int64), size[each] * number[each])
            row = each[row]
            of = begun.start[group[row]] + nth % number[row]
            last = ends.some(start[place[row]] + nth // number[row])
            one, two = begun.group[group[row]] % entities, groups[place[row]] % entities
            weight = begun.weight[of] * steps.through[one] * steps.weight[middle[row]]
            weight *= steps.through[two] * steps.weight[last.step]
            triples = (begun.triple[of], steps.triple[middle[row]], steps.triple[last.step])
            paths = Paths(last.target, weight, begun.begin[of], one, two, np.stack(triples, axis=1))
            once = (paths.begin != two) & (paths.begin != last.end) & (one != last.end)
            yield paths.some(once)


def _middles(steps: Steps, begun: _Beginnings, groups: Ints) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Steps from where beginnings lead to where ends begin: the place among ``groups``, user x E +
    entity, of the latter, the group of the former, and the step: int64 [m] each.
    """
    entities = len(steps.degree)
    user, entity = np.divmod(groups, entities)
    low = np.searchsorted(begun.group, user * entities)
    high = np.searchsorted(begun.group, (user + 1) * entities)
    fewer = steps.degree[entity] <= high - low
    for first, end in _blocks(np.where(fewer, steps.degree[entity], high - low)):
        each = np.arange(first, end)
        near, far = each[fewer[each]], each[~fewer[each]]
        row, step = ranges(steps.start[entity[near]], steps.start[entity[near] + 1])
        group = begun.at(user[near[row]] * entities + steps.to[step])
        other, of = ranges(low[far], high[far])
        between = steps.between(entity[far[other]], begun.group[of] % entities)
        found = (
            np.concatenate([near[row], far[other]]),
            np.concatenate([group, of]),
            np.concatenate([step, between]),
        )
        there = (found[1] >= 0) & (found[2] >= 0)
        yield found[0][there], found[1][there], found[2][there]


def _beginnings(steps: Steps, history: Pairs, most: int) -> _Beginnings:
    row, step = ranges(steps.start[history.entity], steps.start[history.entity + 1])
    group = history.user[row] * len(steps.degree) + steps.to[step]
    begin, weight = history.entity[row], steps.weight[step]
    order = np.lexsort((begin, -weight, group))
    # Two of them may begin where the path has been, at its target or its second entity.
    kept = order[places(group[order]) < most + 2]
    groups, start = np.unique(group[kept], return_index=True)
    start = np.append(start, len(kept))
    return _Beginnings(groups, start, begin[kept], steps.triple[step[kept]], weight[kept])


def places(groups: Ints) -> Ints:
    """The place of each row in its group, from 0; rows of a group stand together."""
    first = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1))
    return np.arange(len(groups)) - np.repeat(first, np.diff(first, append=len(groups)))


def _blocks(cost: Ints | Floats) -> Iterator[tuple[int, int]]:
    """Parts of what costs so many rows each, of at most ``ROWS`` where one alone is not more."""
    total, first = np.cumsum(cost), 0
    while first < len(cost):
        most = ROWS + (total[first - 1] if first else 0)
        end = max(first + 1, int(np.searchsorted(total, most, side="right")))
        yield first, end
        first = end


def _joined(parts: list[Paths]) -> Paths:
    return Paths(*map(np.concatenate, zip(*parts, strict=True)))


_EMPTY = np.zeros(0, dtype=np.int64)
_NONE = Paths(_EMPTY, np.zeros(0), _EMPTY, _EMPTY, _EMPTY, np.zeros((0, 3), dtype=np.int64))
