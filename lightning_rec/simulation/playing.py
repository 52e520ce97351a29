"""Days of a world with recommendations: users visit, are shown lists, look at places, and click.

What a shop would know (:attr:`Played.log`, :attr:`Played.outcomes`) is kept apart from what only a
simulator knows (:attr:`Played.truth`, :attr:`Played.requests`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl

from lightning_rec.errors import UserError, nearest
from lightning_rec.simulation.world import DAY, START, World, before, names, places

ALL = "all"  # what variants are called where there are none


class Answer(NamedTuple):
    """A list: items, best first, none where the user was refused; its propensities and variant."""

    items: Sequence[str]
    propensities: Sequence[float] | None = None
    variant: str | None = None
    refused: bool = False


class Told(NamedTuple):
    """What a user did, in its order; ``key`` is the same if it is told again."""

    user: str
    items: list[str]
    key: str


class Shop(Protocol):
    """Whoever recommends: a server, or a function in a test."""

    def ask(self, users: Sequence[str], k: int, seed: int) -> list[Answer]:
        """A list of ``k`` items for each user; ``seed`` of what is left to chance."""
        ...

    def tell(self, events: Sequence[Told]) -> None:
        """Take in what users did."""
        ...


class Played(NamedTuple):
    """log: with all new events.

    outcomes: a row for each item shown: ``request``, ``day``, ``time``, ``user``, ``variant``,
    ``rank``, ``item``, ``propensity``, ``click``. truth: the same rows, with ``examination``,
    ``probability`` (of a click, if it is looked at) and ``expected`` (their product).
    requests: an answer a row, refused ones too: ``day``, ``user``, ``variant``, ``refused``,
    ``shown``, ``clicks``, ``expected``.
    """

    log: pl.DataFrame
    outcomes: pl.DataFrame
    truth: pl.DataFrame
    requests: pl.DataFrame


def play(world: World, log: pl.DataFrame, first: int, days: int, shop: Shop, k: int) -> Played:
    """Play ``days`` days from ``first`` on; ``log``: of the days before.

    Raises UserError where the shop recommends what is no item of the world.
    """
    kept: dict[str, list[pl.DataFrame]] = {"outcomes": [], "truth": [], "requests": []}
    for day in range(first, first + days):
        log, *found = _day(world, log, day, shop, k)
        for frames, frame in zip(kept.values(), found, strict=True):
            frames.append(frame)
    return Played(log, **{name: pl.concat(frames) for name, frames in kept.items()})


def _day(
    world: World, log: pl.DataFrame, day: int, shop: Shop, k: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    users, seconds = world.visits(day)
    state = before(world, log, day)
    new = users[~state.had[users].any(1)]  # whom no server can know: they look around first
    who, what = world.organic(day, new, state)
    state.had[who, what] = True
    found = [world.events(day, who, what, places(who), "organic")]
    shop.tell(_told(found[0], f"{day} organic"))
    ids = names("u", users)
    answers = shop.ask(ids.to_list(), k, 1_000_003 * world.settings.seed + day)
    items, propensity = _lists(world, day, ids, answers, k)
    examination = world.examination(k)
    probability = world.probability(day, users, state, items)
    expected = probability * examination
    clicked = world.coins(day, k)[users] < expected
    row, place = clicked.nonzero()
    found.append(world.events(day, users[row], items[row, place], places(users[row]) + 10, "click"))
    shop.tell(_told(found[1], f"{day} click"))
    requests = pl.DataFrame({
        "request": f"{day}-" + ids,
        "day": np.full(len(users), day), "time": START + day * DAY + seconds, "user": ids,
        "variant": pl.Series([a.variant or ALL for a in answers], dtype=pl.String),
        "refused": pl.Series([a.refused for a in answers], dtype=pl.Boolean),
        "shown": (items >= 0).sum(1), "clicks": clicked.sum(1), "expected": expected.sum(1),
    })  # fmt: skip
    row, place = (items >= 0).nonzero()
    at = requests[row].select("request", "day", "time", "user", "variant")
    at = at.with_columns(rank=pl.Series(place + 1), item=names("i", items[row, place]))
    outcomes = at.with_columns(
        propensity=pl.Series(propensity[row, place]).fill_nan(None),
        click=pl.Series(clicked[row, place]).cast(pl.Int64),
    )
    truth = at.with_columns(
        examination=pl.Series(examination[place]),
        probability=pl.Series(probability[row, place]),
        expected=pl.Series(expected[row, place]),
    )
    return pl.concat([log, *found]), outcomes, truth, requests


def _told(events: pl.DataFrame, key: str) -> list[Told]:
    each = events.group_by("user", maintain_order=True).agg("item")
    return [Told(user, items, f"{key} {user}") for user, items in each.iter_rows()]


def _lists(
    world: World, day: int, users: pl.Series, answers: Sequence[Answer], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of what was shown, int64 [R, k], -1 for none; propensities, float64, NaN for none."""
    known = {name: code for code, name in enumerate(names("i", np.arange(world.items(day))))}
    items = np.full((len(users), k), -1, dtype=np.int64)
    propensity = np.full((len(users), k), np.nan)
    for row, answer in enumerate(answers):
        if odd := [item for item in answer.items if item not in known]:
            raise UserError(
                f"{users[row]} was recommended '{odd[0]}', which is no item of this world on day "
                f"{day}.{nearest(odd[0], known)} Is the model trained on the log of this world?"
            )
        items[row, : len(answer.items)] = [known[item] for item in answer.items]
        if answer.propensities is not None:
            propensity[row, : len(answer.items)] = answer.propensities
    return items, propensity


def summary(requests: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """By variant: users, requests, refused, shown, clicks, and clicks expected by the truth.

    ``by_request`` and ``by_user`` are the expected ones over the number of these.
    """
    found = requests.group_by("variant").agg(
        pl.col("user").n_unique().alias("users"),
        pl.len().alias("requests"),
        pl.col("refused", "shown", "clicks", "expected").sum(),
    )
    found = found.sort("variant").with_columns(
        by_request=pl.col("expected") / pl.col("requests"),
        by_user=pl.col("expected") / pl.col("users"),
    )
    return {row.pop("variant"): row for row in found.to_dicts()}
