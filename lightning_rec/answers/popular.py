"""The most popular items: with events that fade, by category or segment, and what is rising."""

import re
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError, suggest
from lightning_rec.rules.given import Moment, moment, moments
from lightning_rec.rules.ready import values_of
from lightning_rec.rules.where import holds

DAY = 86_400.0
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY}


def seconds(name: str, text: str) -> float:
    """Seconds of ``12h``, ``7d``, ``2w``. Raises UserError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h|d|w)", text.strip())
    if not found or float(found[1]) <= 0:
        raise UserError(f"{name}={text}: say a time such as 12h, 7d or 2w.")
    return float(found[1]) * _UNITS[found[2]]


def events_of(log: pl.DataFrame) -> pl.DataFrame:
    """The log with ``item`` as ids, and ``time`` in seconds if it has that; all else as it is."""
    if "item" not in log.columns:
        raise UserError(
            f"The log has no column 'item'.{suggest('item', log.columns, 'Its columns are')}"
        )
    events = log.with_columns(ids_of(log["item"]).alias("item")).drop_nulls("item")
    if "time" in log.columns:
        time = moments("the column 'time' of the log", events["time"])
        if time.has_nulls():
            raise UserError(
                f"The column 'time' of the log is empty in row {time.is_null().arg_max()}."
            )
        events = events.with_columns(time.alias("time"))
    return events


def popular(
    log: pl.DataFrame,
    k: int = 10,
    *,
    items: pl.DataFrame | None = None,
    half_life: float | None = None,
    at: Moment | None = None,
    per: str | None = None,
    where: str | None = None,
) -> pl.DataFrame:
    """The ``k`` most popular items, of each value of ``per`` if that is said.

    Args:
        log: a row for each event: ``item``, perhaps ``user``, ``time`` and other columns.
        k: how many.
        items: the catalogue: ``item``, ``title``, other columns.
        half_life: seconds after which an event counts half; None: all count one.
        at: when; events after it do not count. None: the last event of the log.
        per: a column of the log (a segment of users), or of the catalogue (a category).
        where: a condition on the catalogue.

    Returns:
        ``per`` if it is said, ``rank``, ``item``, ``title``, ``score`` (the sum of
        ``2 ** (-age / half_life)``), ``events``, and ``users`` where the log has them.
    """
    events = events_of(log)
    if half_life is not None or at is not None:
        now = _now(events, at)
        events = events.filter(pl.col("time") <= now)
        aged = (pl.lit(now) - pl.col("time")) / (half_life or np.inf)
        events = events.with_columns(weight=pl.lit(2.0).pow(-aged))
    else:
        events = events.with_columns(weight=pl.lit(1.0))
    events = _in_groups(_held(events, items, where), items, per)
    keys = [per, "item"] if per else ["item"]
    summed = [pl.col("weight").sum().alias("score"), pl.len().alias("events")]
    summed += [pl.col("user").n_unique().alias("users")] if "user" in events.columns else []
    found = events.group_by(keys, maintain_order=True).agg(summed)
    return _ranked(found, ["score", "events"], [True, True], k, items, per)


def trending(
    log: pl.DataFrame,
    k: int = 10,
    *,
    window: float = 7 * DAY,
    items: pl.DataFrame | None = None,
    at: Moment | None = None,
    per: str | None = None,
    where: str | None = None,
) -> pl.DataFrame:
    """The items whose share of all events has risen most surely.

    Compares the last ``window`` seconds with the four windows before. An item's events in both fall
    into the last one as all events do, if nothing changed: its p-value is that of the binomial test
    (one-sided), and ``q`` is corrected for all items looked at (Benjamini & Hochberg 1995).

    Args and errors: see :func:`popular`.

    Returns:
        ``per``, ``rank``, ``item``, ``title``, ``recent`` and ``before`` (events), ``ratio`` (of
        the shares, one event added to each side), ``p``, ``q``; by ``p``, risen items alone.
    """
    events = events_of(log)
    now = _now(events, at)
    age = (pl.lit(now) - pl.col("time")) / window
    events = events.filter((age >= 0) & (age < 5)).with_columns(recent=age < 1)
    events = _in_groups(_held(events, items, where), items, per)
    keys = [per, "item"] if per else ["item"]
    both = [pl.col("recent").sum().alias("recent"), (~pl.col("recent")).sum().alias("before")]
    found = events.group_by(keys, maintain_order=True).agg(both)
    own = [pl.col(name).sum() for name in ("recent", "before")]
    own = [each.over(per) for each in own] if per else own
    found = found.with_columns(all_recent=own[0], all_before=own[1])
    names = ("recent", "before", "all_recent", "all_before")
    recent, before, of, rest = (found[name].to_numpy().astype(float) for name in names)
    share = of / np.maximum(of + rest, 1)
    p = stats.binom.sf(recent - 1, recent + before, share)
    p = np.where(rest > 0, p, 1.0)  # nothing before: nothing to compare with
    ratio = ((recent + 1) / (of + 1)) / ((before + 1) / (rest + 1))
    q = stats.false_discovery_control(p) if len(p) else p
    found = found.with_columns(ratio=pl.Series(ratio), p=pl.Series(p), q=pl.Series(q))
    found = found.drop("all_recent", "all_before").filter(pl.col("ratio") > 1)
    return _ranked(found, ["p", "ratio"], [False, True], k, items, per)


def _now(events: pl.DataFrame, at: Moment | None) -> float:
    if "time" not in events.columns:
        raise UserError(
            "Popularity that fades needs times, and there are none: give a log with a column "
            "'time', --input log.csv."
        )
    latest: Any = events["time"].max()
    return float(latest or 0.0) if at is None else moment("at", at)


def _held(events: pl.DataFrame, items: pl.DataFrame | None, where: str | None) -> pl.DataFrame:
    """The events of items for which the condition is true."""
    if where is None:
        return events
    if items is None:
        raise UserError("where= needs a catalogue: say model=FOLDER as well.")
    true = items.filter(pl.Series(holds(where, items)))
    return events.filter(pl.col("item").is_in(ids_of(true["item"]).implode()))


def _in_groups(events: pl.DataFrame, items: pl.DataFrame | None, per: str | None) -> pl.DataFrame:
    """The events with a column ``per``, once for each value it has."""
    if per is None or per in events.columns:
        return events if per is None else events.drop_nulls(per)
    if items is None:
        raise UserError(f"per={per}: the log has no such column, and there is no catalogue.")
    values = pl.DataFrame([ids_of(items["item"]).alias("item"), values_of(items, per, "per")])
    values = values.explode(per, empty_as_null=True, keep_nulls=True).drop_nulls()
    return events.join(values, "item", "inner", maintain_order="left")


def _ranked(
    found: pl.DataFrame,
    by: list[str],
    falling: list[bool],
    k: int,
    items: pl.DataFrame | None,
    per: str | None,
) -> pl.DataFrame:
    """The first ``k``, of each group; ties in the order of the log."""
    keys = [per] if per else []
    found = found.sort([*keys, *by], descending=[False] * len(keys) + falling, maintain_order=True)
    place = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32)
    found = found.with_columns(rank=place.over(per) if per else place).filter(pl.col("rank") <= k)
    titled = items is not None and "title" in items.columns
    if items is not None and titled:
        names = pl.DataFrame([ids_of(items["item"]).alias("item"), items["title"]])
        found = found.join(names, "item", "left", maintain_order="left")
    first = [*keys, "rank", "item", *(["title"] if titled else [])]
    return found.select(*first, *(name for name in found.columns if name not in first))
