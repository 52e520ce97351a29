"""Two rankers in one list, and which of them the clicks prefer.

Team-draft interleaving (Radlinski, Kurup & Joachims, "How Does Clickthrough Data Reflect Retrieval
Quality?", CIKM 2008, algorithm 2): as captains choose teams. In each round a coin decides which
ranker goes first; each then takes its best item that is not in the list. A click is credited to
the ranker that chose the item. Every user compares both, so far fewer users are needed than where
each sees one of them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from lightning_rec.errors import UserError


def team_draft(
    first: Sequence[str], second: Sequence[str], k: int, key: str
) -> list[tuple[str, int]]:
    """The ``k`` items of both lists, each with the one (0 or 1) that it was taken from.

    ``key``: what the coins follow from, such as experiment and user. The result is shorter where
    both lists have no more.
    """
    coins = hashlib.shake_256(key.encode()).digest(k // 8 + 1)
    lists, at, taken = (first, second), [0, 0], dict[str, int]()
    for place in range(2 * k):
        if len(taken) >= k:
            break
        turn = place // 2
        coin = coins[turn // 8 % len(coins)] >> (turn % 8) & 1
        team = coin if place % 2 == 0 else 1 - coin
        own = lists[team]
        while at[team] < len(own) and own[at[team]] in taken:
            at[team] += 1
        if at[team] < len(own):
            taken[own[at[team]]] = team
    return list(taken.items())


@dataclass(frozen=True)
class Preference:
    """For whom users clicked more: of ``first``, of ``second``, of both alike.

    p: of the sign test, a binomial test of the users that prefer one. share, low, high: of those
    the part that prefers the second, with its exact interval (Clopper & Pearson 1934).
    """

    first: int
    second: int
    ties: int
    share: float
    low: float
    high: float
    p: float


def preference(shown: pl.DataFrame, first: str, second: str, *, level: float = 0.95) -> Preference:
    """Which team users prefer.

    Args:
        shown: a row for each item of a list: ``user`` (or whatever is one unit, such as a query),
            ``team``, and whether it was ``clicked``.
        first: one team.
        second: the other one.
        level: of the interval.

    Raises:
        UserError: where nobody prefers one.
    """
    from scipy import stats

    side = pl.col("team").replace_strict({first: -1, second: 1}, return_dtype=pl.Int64)
    lead = shown.filter("clicked").group_by("user").agg(side.sum())["team"]
    wins, losses = int((lead > 0).sum()), int((lead < 0).sum())
    if not wins + losses:
        raise UserError("No user clicked more on one of both: there is nothing to compare yet.")
    test = stats.binomtest(wins, wins + losses)
    interval = test.proportion_ci(level)
    users = shown["user"].n_unique()
    return Preference(
        losses, wins, users - wins - losses, wins / (wins + losses),
        float(interval.low), float(interval.high), float(test.pvalue),
    )  # fmt: skip
