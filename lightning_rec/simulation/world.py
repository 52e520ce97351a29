"""Who lives in a world, what they like today, and what they find by themselves.

All chance comes from generators that are named by the seed, what they are for and the day, and
draws are a row for each user: whoever else is there, or is asked, changes nothing of a user's luck.
Two policies that are played in one world so meet the same users, visits and coins (common random
numbers).
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from lightning_rec.simulation.settings import Settings

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
START = 1_767_225_600  # 2026-01-01 00:00 UTC, the first day
DAY = 86_400
ROWS = 1024  # users whose scores of all items are held at once
_ITEMS, _USERS, _DRIFT, _VISITS, _ORGANIC, _CLICKS, _CENTRES = range(7)


class Before(NamedTuple):
    """had: bool [U, N], what users have had. heat: float64 [N], the popularity of items."""

    had: NDArray[np.bool_]
    heat: Floats


class World:
    """Users and items of each day, numbered from 0. ``settings``: see :class:`Settings`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tastes: tuple[int, Floats] | None = None

    def _chance(self, *what: int) -> np.random.Generator:
        # NumPy pads entropy with zeros: without the length, (3, 1) and (3, 1, 0) were one stream.
        return np.random.default_rng([self.settings.seed, len(what), *what])

    def users(self, day: int) -> int:
        """How many users there are on a day."""
        return self.settings.users + day * self.settings.new_users

    def items(self, day: int) -> int:
        """How many items there are on a day."""
        return self.settings.items + day * self.settings.new_items

    def catalogue(self, day: int) -> tuple[Codes, Floats, Floats]:
        """Items until a day: category int64 [N], vector float64 [N, d], attraction float64 [N]."""
        of = self.settings
        centres = self._chance(_CENTRES).standard_normal((of.categories, of.dim))
        parts = []
        for since in range(day + 1):
            chance, new = self._chance(_ITEMS, since), of.new_items if since else of.items
            category = chance.integers(of.categories, size=new)
            own = chance.standard_normal((new, of.dim))
            vector = 0.8 * centres[category] + 0.6 * own  # of variance 1, as both are
            parts.append((category, vector, 0.5 * chance.standard_normal(new)))
        category, vector, attraction = (np.concatenate(each) for each in zip(*parts, strict=True))
        return category, vector, attraction

    def activity(self, day: int) -> Floats:
        """The probability of each user's visit on a day: float64 [U], from a beta distribution."""
        mean, parts = self.settings.activity, []
        for since in range(day + 1):
            new = self.users(0) if since == 0 else self.settings.new_users
            parts.append(
                self._chance(_VISITS, _USERS, since).beta(4 * mean, 4 - 4 * mean + 1e-9, new)
            )
        return np.concatenate(parts)

    def tastes(self, day: int) -> Floats:
        """What users like on a day: float64 [U, d], each coordinate of variance 1 on all days.

        In a day a taste goes to sqrt(1 - drift²) of itself plus drift times noise.
        """
        of, begun = self.settings, self._tastes
        if begun is None or begun[0] > day:
            begun = 0, self._chance(_USERS, 0).standard_normal((of.users, of.dim))
        at, tastes = begun
        while at < day:
            at += 1
            noise = self._chance(_DRIFT, at).standard_normal(tastes.shape)
            moved = (1 - of.drift**2) ** 0.5 * tastes + of.drift * noise
            new = self._chance(_USERS, at).standard_normal((of.new_users, of.dim))
            tastes = np.concatenate([moved, new])
        self._tastes = at, tastes
        return tastes

    def visits(self, day: int) -> tuple[Codes, Codes]:
        """Who visits on a day, and at which of its seconds: int64 [R] each."""
        draws = self._chance(_VISITS, day).random((self.users(day), 2))
        codes = np.flatnonzero(draws[:, 0] < self.activity(day))
        return codes, (draws[codes, 1] * (DAY - 3600)).astype(np.int64)

    def coins(self, day: int, k: int) -> Floats:
        """A uniform number for each user and place of his list: float64 [U, k]."""
        return self._chance(_CLICKS, day, k).random((self.users(day), k))

    def examination(self, k: int) -> Floats:
        """How probable it is that a place is looked at, whatever is there: float64 [k].

        The position-based model (Craswell et al., WSDM 2008), its curve as in Joachims et al.,
        WSDM 2017.
        """
        return (1.0 / np.arange(1, k + 1)) ** self.settings.examination

    def probability(
        self, day: int, users: Codes, before: Before, items: Codes | None = None
    ) -> Floats:
        """The probability of a click, given that the item is looked at: float64 [R, k].

        0 where the user has had the item, and where there is none. Args: see :meth:`logits`.
        """
        found: Floats = expit(self.logits(day, users, before, items))
        return found

    def logits(self, day: int, users: Codes, before: Before, items: Codes | None = None) -> Floats:
        """The logarithm of the odds of a click, given that the item is looked at: float64 [R, k].

        -inf where the user has had the item, and where there is none.

        Args:
            day: on which they visit.
            users: int64 [R].
            before: what was until then.
            items: int64 [R, k], -1 for none; None: all items, k of them.
        """
        of, (_, vectors, attraction) = self.settings, self.catalogue(day)
        popularity = np.log1p(before.heat)
        level = of.base + attraction + of.feedback * (popularity - popularity.mean())
        tastes = self.tastes(day)[users] / of.dim**0.5
        if items is None:
            score = of.strength * (tastes @ vectors.T) + level
            gone = before.had[users]
        else:
            match = np.einsum("rd,rkd->rk", tastes, vectors[items])
            score = of.strength * match + level[items]
            gone = before.had[users[:, None], items] | (items < 0)
        found: Floats = np.where(gone, -np.inf, score)
        return found

    def organic(self, day: int, users: Codes, before: Before) -> tuple[Codes, Codes]:
        """What users find by themselves: users and items, int64 each, in the order of each visit.

        Items are drawn without return, in proportion to the odds of a click.
        """
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for block in range(-(-self.users(day) // ROWS)):
            here = users[users // ROWS == block]
            if not len(here):
                continue
            noise = self._chance(_ORGANIC, day, block).gumbel(size=(ROWS, self.items(day)))
            score = self.logits(day, here, before) + noise[here % ROWS]
            best = np.argsort(-score, 1)[:, : self.settings.organic]
            free = np.take_along_axis(score, best, 1) > -np.inf
            found.append((np.repeat(here, free.sum(1)), best[free]))
        users_of, items_of = (np.concatenate(each) for each in zip(*found, strict=True))
        return users_of, items_of

    def events(self, day: int, users: Codes, items: Codes, place: Codes, kind: str) -> pl.DataFrame:
        """Rows of a log; ``place``: of each event in the visit, half a minute apart."""
        visitors, seconds = self.visits(day)
        second = seconds[np.searchsorted(visitors, users)] + 30 * place
        who, what = names("u", users), names("i", items)
        rows = pl.DataFrame({"user": who, "item": what, "time": START + day * DAY + second})
        return rows.with_columns(kind=pl.lit(kind)).sort("time", "user")


def names(letter: str, codes: Codes) -> pl.Series:
    """Ids of codes: u0, i17."""
    return letter + pl.Series(codes, dtype=pl.Int64).cast(pl.String)


def codes_of(ids: pl.Series) -> Codes:
    """Codes of ids."""
    return ids.str.slice(1).cast(pl.Int64).to_numpy()


def before(world: World, log: pl.DataFrame, day: int) -> Before:
    """What was until the lists of a day: all earlier events, and what was found that day."""
    when = (log["time"].to_numpy() - START) // DAY
    users, items = codes_of(log["user"]), codes_of(log["item"])
    known = (when < day) | ((when == day) & (log["kind"] == "organic").to_numpy())
    had = np.zeros((world.users(day), world.items(day)), dtype=bool)
    had[users[known], items[known]] = True
    past = when < day
    fading = world.settings.decay ** (day - 1 - when[past]).astype(float)
    heat = np.bincount(items[past], fading, world.items(day)).astype(np.float64)
    return Before(had, heat)


def make_log(world: World) -> pl.DataFrame:
    """The log of the world's first days: ``user``, ``item``, ``time`` (seconds), ``kind``.

    All its events are organic: nothing was recommended yet.
    """
    last = world.settings.days - 1
    had = np.zeros((world.users(last), world.items(last)), dtype=bool)
    heat, parts = np.zeros(world.items(last)), []
    for day in range(world.settings.days):
        users, items = world.users(day), world.items(day)
        seen = Before(had[:users, :items], heat[:items])
        who, what = world.organic(day, world.visits(day)[0], seen)
        had[who, what] = True
        heat = world.settings.decay * heat + np.bincount(what, minlength=len(heat))
        parts.append(world.events(day, who, what, places(who), "organic"))
    return pl.concat(parts)


def places(users: Codes) -> Codes:
    """The place of each entry among those of its user, which follow each other: int64, from 0."""
    starts = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))[: len(users)]
    lengths = np.diff(np.append(starts, len(users)))
    found: Codes = np.arange(len(users)) - np.repeat(starts, lengths)
    return found
