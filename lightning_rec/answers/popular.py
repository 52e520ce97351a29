"""The most popular items: with events that fade, by category or segment, and what is rising."""

from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from lightning_rec.data.ids import ids, ids_of
from lightning_rec.data.names import lacking
from lightning_rec.errors import UserError
from lightning_rec.rules.given import Moment, moment, times_of
from lightning_rec.rules.ready import values_of
from lightning_rec.rules.where import holds

DAY = 86_400.0
POPULAR = ("rank", "item", "title", "score", "events", "users")
TRENDING = ("rank", "item", "title", "recent", "before", "ratio", "p", "q")


def events_of(log: pl.DataFrame | pl.LazyFrame, per: str | None = None) -> pl.LazyFrame:
    """``item`` and ``user`` as ids, and ``time`` in seconds, of those that a log has.

    ``_row`` numbers its rows, and ``_per`` is the column ``per`` where the log has that. It is read
    as a stream, and not kept.
    """
    rows = log.lazy()
    schema = rows.collect_schema()
    if "item" not in schema:
        say = "Say item=COLUMN, or rename the one that holds it"
        raise UserError(lacking("The log", "item", schema, say))
    read = [
        ids(pl.col(name), schema[name]).alias(name) for name in ("item", "user") if name in schema
    ]
    if "time" in schema:
        read.append(times_of("the column 'time' of the log", rows))
    if per is not None and per in schema:
        read.append(pl.col(per).alias("_per"))
    events = rows.select(read).with_row_index("_row").drop_nulls("item")
    if "time" in schema:
        empty = events.filter(pl.col("time").is_null())
        if empty.select(pl.len()).collect(engine="streaming").item():
            row = empty.head(1).collect(engine="streaming")["_row"][0]
            raise UserError(
                f"The time is empty in row {row + 1:,} of the log, its head not counted: fill it "
                "in, or leave the row out."
            )
    return events


def popular(
    log: pl.DataFrame | pl.LazyFrame,
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
        log: a row for each event: ``item``, perhaps ``user``, ``time`` and other columns. A lazy
            frame is read as a stream: what is held are its items, and the users of those told.
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
    events = events_of(log, _per(per, POPULAR))
    if half_life is not None or at is not None:
        now = _now(events, at)
        events = events.filter(pl.col("time") <= now)
        aged = (pl.lit(now) - pl.col("time")) / (half_life or np.inf)
        events = events.with_columns(weight=pl.lit(2.0).pow(-aged))
    else:
        events = events.with_columns(weight=pl.lit(1.0))
    events = _in_groups(_held(events, items, where), items, per)
    # To 12 digits: a stream adds up in no fixed order, and equal sums are to stay so.
    summed = [pl.col("weight").sum().round_sig_figs(12).alias("score"), pl.len().alias("events")]
    found = _grouped(events, per, summed)
    best = _ranked(found, ["score", "events"], [True, True], k, items, per)
    if "user" not in events.collect_schema():
        return best
    # Of what is told alone: whoever had any item are too many to hold.
    keys = ["_per", "item"] if per else ["item"]
    told = best.select(pl.col(per).alias("_per") if per else [], "item")
    own = events.join(told.lazy(), keys, "semi")
    users = own.group_by(keys).agg(pl.col("user").drop_nulls().n_unique().alias("users"))
    counted = users.collect(engine="streaming")
    return best.join(
        counted,
        left_on=[per, "item"] if per else keys,
        right_on=keys,
        how="left",
        maintain_order="left",
    )


def trending(
    log: pl.DataFrame | pl.LazyFrame,
    k: int = 10,
    *,
    window: float = 7 * DAY,
    items: pl.DataFrame | None = None,
    at: Moment | None = None,
    per: str | None = None,
    where: str | None = None,
) -> pl.DataFrame:
    """The items whose share of all events (of ``where`` and of the group) has risen most surely.

    Compares the last ``window`` seconds with the four windows before. An item's events in both fall
    into the last one as all events do, if nothing changed: its p-value is that of the binomial test
    (one-sided), and ``q`` is corrected for all items looked at (Benjamini & Hochberg 1995).

    Args and errors: see :func:`popular`.

    Returns:
        ``per``, ``rank``, ``item``, ``title``, ``recent`` and ``before`` (events), ``ratio`` (of
        the shares, one event added to each side), ``p``, ``q``; by ``p``, risen items alone.
    """
    events = events_of(log, _per(per, TRENDING))
    now = _now(events, at)
    age = (pl.lit(now) - pl.col("time")) / window
    events = events.filter((age >= 0) & (age < 5)).with_columns(recent=age < 1)
    events = _in_groups(_held(events, items, where), items, per)
    both = [pl.col("recent").sum().alias("recent"), (~pl.col("recent")).sum().alias("before")]
    found = _grouped(events, per, both)
    own = [pl.col(name).sum() for name in ("recent", "before")]
    own = [each.over("_per") for each in own] if per else own
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


def _grouped(events: pl.LazyFrame, per: str | None, made: list[pl.Expr]) -> pl.DataFrame:
    """A row for each item, or each of a group, in the order in which the log first has them."""
    first = pl.col("_row").min().alias("_first")
    grouped = events.group_by(["_per", "item"] if per else ["item"]).agg(first, *made)
    found = grouped.collect(engine="streaming")
    return found.sort("_first", *(["_per"] if per else []), "item").drop("_first")


def _per(per: str | None, columns: tuple[str, ...]) -> str | None:
    """``per``. Raises UserError where the answer has a column of this name."""
    if per in columns:
        raise UserError(f"per={per}: the answer has a column of this name: give yours another.")
    return per


def _now(events: pl.LazyFrame, at: Moment | None) -> float:
    if "time" not in events.collect_schema():
        raise UserError(
            "Popularity that fades needs times, and there are none: give a log with a column "
            "'time', --input log.csv."
        )
    if at is not None:
        return moment("at", at)
    latest: Any = events.select(pl.col("time").max()).collect(engine="streaming").item()
    return float(latest or 0.0)


def _held(events: pl.LazyFrame, items: pl.DataFrame | None, where: str | None) -> pl.LazyFrame:
    """The events of items for which the condition is true."""
    if where is None:
        return events
    if items is None:
        raise UserError("where= needs a catalogue: say model=FOLDER as well.")
    true = items.filter(pl.Series(holds(where, items)))
    return events.join(ids_of(true["item"]).to_frame("item").unique().lazy(), "item", "semi")


def _in_groups(events: pl.LazyFrame, items: pl.DataFrame | None, per: str | None) -> pl.LazyFrame:
    """The events with a column ``_per``, once for each value it has."""
    if per is None or "_per" in events.collect_schema():
        return events if per is None else events.drop_nulls("_per")
    if items is None:
        raise UserError(
            f"per={per}: the log has no such column; a catalogue may, say model=FOLDER of a "
            "run that was trained with one."
        )
    of = values_of(items, per, "per").alias("_per")
    values = pl.DataFrame([ids_of(items["item"]).alias("item"), of])
    values = values.explode("_per", empty_as_null=True, keep_nulls=True).drop_nulls()
    return events.join(values.lazy(), "item", "inner")


def _ranked(
    found: pl.DataFrame,
    by: list[str],
    falling: list[bool],
    k: int,
    items: pl.DataFrame | None,
    per: str | None,
) -> pl.DataFrame:
    """The first ``k``, of each group; ties in the order of the log."""
    keys = ["_per"] if per else []
    found = found.sort([*keys, *by], descending=[False] * len(keys) + falling, maintain_order=True)
    place = pl.int_range(1, pl.len() + 1, dtype=pl.UInt32)
    found = found.with_columns(rank=place.over(keys) if per else place).filter(pl.col("rank") <= k)
    titled = items is not None and "title" in items.columns
    if items is not None and titled:
        names = pl.DataFrame([ids_of(items["item"]).alias("item"), items["title"]])
        found = found.join(names, "item", "left", maintain_order="left")
    first = [*keys, "rank", "item", *(["title"] if titled else [])]
    found = found.select(*first, *(name for name in found.columns if name not in first))
    return found.rename({"_per": per}) if per else found
