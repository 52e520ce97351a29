"""What policies are truly worth: no draws of clicks, their probabilities."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.simulation.folders import Kept
from lightning_rec.simulation.world import before, codes_of, names
from lightning_rec.trials.logged import Policy, read_policy


class Value(NamedTuple):
    """row: the mean click probability of a place, as ``offpolicy`` estimates it. request: the
    clicks of a list. rows, requests: how many. left_out: rows of which the policy says nothing.
    had: of the policy, the share that is of items which users have had by then, and do not click.
    """

    row: float
    request: float
    rows: int
    requests: int
    left_out: int
    had: float


def value_of(kept: Kept, path: Path, *, after: bool = False) -> Value:
    """The true value of a policy, a file as ``offpolicy`` takes it.

    Of a play it is that on the play's requests, at the moment of each, also for items that were not
    shown; of a world that was not played, or ``after`` a play, that of all its users' next visit.
    Raises UserError for other files.
    """
    asked = _next_visit(kept) if after or kept.outcomes is None else kept.outcomes
    ranks = asked.select("request", "day", "user", "rank", "item")
    policy = read_policy(path, ranks, "item")
    if after or kept.outcomes is None:  # as long as the policy's lists
        last = policy.table["in rank"].cast(pl.Int64).max() if "in rank" in policy.context else 1
        ranks = ranks.filter(pl.col("rank") <= last)
    if len(odd := policy.table.filter(~pl.col("action").str.contains(r"^i\d{1,9}$"))):
        raise UserError(
            f"{path}: the item '{odd['action'][0]}' is of no world; they are i0, i1, …."
        )
    rows = _under(ranks.drop("item"), policy)
    if rows.is_empty():
        raise UserError(f"{path} knows no user of {listed(ranks['user'].unique().sort(), 3)}, ….")
    worth, gone, k = np.zeros(len(rows)), 0.0, int(rows["rank"].max())  # type: ignore[arg-type]
    examination = kept.world.examination(k)
    days = rows["day"].to_numpy()
    for day in np.unique(days):
        here = days == day
        part = rows.filter(here)
        items = codes_of(part["action"])
        there = items < kept.world.items(int(day))
        state = before(kept.world, kept.log, int(day))
        shown = np.where(there, items, -1)[:, None]
        users = codes_of(part["user"])
        chance = kept.world.probability(int(day), users, state, shown)[:, 0]
        had = there & state.had[users, shown[:, 0]]
        place = examination[part["rank"].to_numpy() - 1]
        share = part["probability"].to_numpy()
        worth[here] = chance * place * share
        gone += float(share[had].sum())
    known = rows.select("request", "rank").unique()
    requests = known["request"].n_unique()
    total = float(worth.sum())
    return Value(
        total / len(known), total / requests, len(known), requests, len(ranks) - len(known),
        gone / len(known),
    )  # fmt: skip


def _under(ranks: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Each place with each item that the policy may put there, and the probability of it."""
    keys = [pl.col(name.removeprefix("in ")).cast(pl.String).alias(name) for name in policy.context]
    rows = ranks.with_columns(keys)
    if not policy.context:
        return rows.join(policy.table, how="cross")
    return rows.join(policy.table, on=policy.context)


def _next_visit(kept: Kept) -> pl.DataFrame:
    """A list of each user on the day after the log, as long as the policy's may be."""
    users = names("u", np.arange(kept.world.users(kept.days)))
    ranks = pl.DataFrame({"rank": np.arange(1, 101)})
    asked = pl.DataFrame({"user": users}).join(ranks, how="cross")
    return asked.with_columns(
        request=pl.col("user"), day=pl.lit(kept.days), item=pl.lit("", pl.String)
    )


class Truth(NamedTuple):
    """True clicks of two variants ``per`` user, list or place shown, and their difference;
    ``inside``: of each interval that was estimated, whether it holds the difference; None where
    nothing was estimated.
    """

    per: str
    names: tuple[str, str]
    figures: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    inside: bool | None


_ABOUT = {"world", "first", "days", "k"}
_PER = {"user": "users", "lists": "requests", "shown": "shown"}


def effect_of(plays: dict[str, Path], found: Path | None) -> Truth:
    """The true effect of the second policy beside the first one, each played for everybody.

    Args:
        plays: by variant the folder of a play in which it was everybody's; the control first.
        found: what ``abtest to=`` wrote of both.

    Raises:
        UserError: where the plays are not of one world and the same days, or of other variants.
    """
    if len(plays) != 2:
        raise UserError("plays= are two, such as {a: FOLDER, b: FOLDER}, the control first.")
    told: dict[str, Any] = {
        name: read_json(folder / "truth.json") for name, folder in plays.items()
    }
    for name, each in told.items():
        if not isinstance(each, dict) or not each.keys() >= _ABOUT:
            raise UserError(f"{plays[name] / 'truth.json'} is not as 'simulate play' wrote it.")
    for name, each in told.items():
        if len(each["variants"]) != 1:
            raise UserError(
                f"plays= {name}: {plays[name]} was played with {listed(each['variants'])}, and the "
                "truth is of what everybody had: play each model alone, 'serve model='."
            )
    about = [{key: each[key] for key in _ABOUT} for each in told.values()]
    if about[0] != about[1]:
        raise UserError("plays= are of one world, the same days and the same k; these are not.")
    estimated: Any = {"value": "clicks per user"} if found is None else read_json(found)
    if not isinstance(estimated, dict) or not isinstance(estimated.get("value"), str):
        raise UserError(f"{found} is not what 'abtest to=' wrote.")
    what, _, per = estimated["value"].partition(" per ")
    if what != "clicks" or per not in _PER:
        raise UserError(
            f"{found} is of {estimated['value']}: the truth is of clicks per user, lists or shown."
        )
    sums = [_whole(each["variants"], _PER[per]) for each in told.values()]
    one, other = plays
    interval = inside = None
    if found is not None:
        control = estimated["arms"][0]["variant"]
        effect = next((e for e in estimated["effects"] if e["variant"] == other), None)
        if control != one or effect is None:
            arms = listed(arm["variant"] for arm in estimated["arms"])
            raise UserError(f"{found} compares {arms}; plays= has {one}, the control, and {other}.")
        interval = effect["low"], effect["high"]
        inside = effect["low"] <= sums[1] - sums[0] <= effect["high"]
    return Truth(per, (one, other), (sums[0], sums[1]), sums[1] - sums[0], interval, inside)


def _whole(variants: dict[str, Any], per: str) -> float:
    return float(
        sum(each["expected"] for each in variants.values())
        / sum(each[per] for each in variants.values())
    )
