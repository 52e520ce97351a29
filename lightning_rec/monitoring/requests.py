"""The log of a server, watched by windows of time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import polars as pl

from lightning_rec.errors import UserError
from lightning_rec.monitoring.judging import Line, drifts, share, told
from lightning_rec.monitoring.observed import events_of, hours_of, observed
from lightning_rec.monitoring.reference import HOURS, Reference
from lightning_rec.trials.requests import ANSWERS

LIMITS = {
    "errors": 0.01, "refused": 0.05, "short_answers": 0.05, "unknown_users": 0.05,
    "unknown_items": 0.05,
}  # fmt: skip
_SLOW = 0.01  # of requests may be slower than p99=
_DAY = timedelta(hours=18)  # what a log that ends in a window has to hold of a day


@dataclass(frozen=True)
class Watching:
    """every: of windows, as Polars says it (``1d``), None for one.  last: windows, None for all.

    limits: of shares, by the names of ``LIMITS``.  p99: milliseconds, None without a limit.
    """

    level: float = 0.99
    every: str | None = None
    last: int | None = None
    p99: float | None = None
    limits: Mapping[str, float] = field(default_factory=lambda: LIMITS)


def windows(rows: pl.DataFrame, asked: Watching) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each window with its name; ``rows``: with ``time``, in its order."""
    if asked.every is None:
        yield "all", rows
        return
    try:
        begins = rows["time"].dt.truncate(asked.every)
    except (pl.exceptions.PolarsError, ValueError):
        raise UserError(f"every={asked.every}: a time is as 1d, 6h, 30m or 1w.") from None
    parts = rows.with_columns(_begins=begins).partition_by("_begins", maintain_order=True)
    for part in parts[-(asked.last or 0) :]:
        begin = part["_begins"][0]
        yield f"{begin:%Y-%m-%d}{begin:T%H:%M}".removesuffix("T00:00"), part


def of_units(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines of a log with ``unit``: the user, or the line where there is none."""
    unit = pl.coalesce(pl.col("user"), pl.format("#{}", "order"))
    return lines.with_columns(unit=unit)


def watched(lines: pl.DataFrame, reference: Reference, asked: Watching) -> Iterable[Line]:
    """The lines of each window; ``lines``: of :func:`of_units`."""
    for window, part in windows(lines, asked):
        # A window that the log ends in may have begun a minute ago: it has no hours to speak of.
        ended = asked.every is not None and part["order"][-1] != lines["order"][-1]
        span = part.select(pl.col("time").max() - pl.col("time").min()).item()
        found = observed_in(part, reference, asked, whole=ended or span >= _DAY)
        yield from drifts(window, found, reference.known, asked.level)
        yield from _shares(window, part, reference, asked)


def observed_in(
    part: pl.DataFrame, reference: Reference, asked: Watching, *, whole: bool = True
) -> dict[str, pl.DataFrame]:
    """What distributions are of: figures of answers, of events, and hours if days are ``whole``."""
    answers = _answers(part)
    found: dict[str, pl.DataFrame] = {}
    if reference.items is not None:
        found |= observed(answers.filter(pl.col("items").is_not_null()), reference.items)
        events = part.filter(pl.col("path") == "/events", pl.col("items").is_not_null())
        found |= events_of(events, reference.items)
    if whole and (asked.every is None or not asked.every.endswith(("h", "m", "s"))):
        found[HOURS] = hours_of(answers)
    return found


def _answers(part: pl.DataFrame) -> pl.DataFrame:
    return part.filter(pl.col("path").is_in(ANSWERS), pl.col("status") == 200)


def _shares(
    window: str, part: pl.DataFrame, reference: Reference, asked: Watching
) -> Iterator[Line]:
    asks = part.filter(pl.col("path").is_in([*ANSWERS, "/similar", "/predict"]))
    answers, limits = _answers(part), asked.limits
    yield from _of(window, "errors", asks, pl.col("status") >= 500, asked)
    status, code = pl.col("status"), pl.col("code").fill_null("")
    # Of keys, limits and load others speak; users that are unknown have their own line.
    unknown, others = code == "unknown_user", status.is_in([401, 403, 429])
    refused = status.is_between(400, 499) & ~others & ~unknown
    yield from _of(window, "refused", asks, refused, asked)
    yield from _of(window, "unknown_users", asks, unknown, asked)
    listed = answers.filter(pl.col("items").is_not_null())
    short = pl.col("items").list.len() < pl.col("k").fill_null(1)
    yield from _of(window, "short_answers", listed, short, asked)
    if reference.items is not None and len(listed):
        items = reference.items.table["item"]
        history = listed.select("unit", item="history").explode("item").drop_nulls("item")
        history = history.with_columns(value=pl.col("item").is_in(items.implode()).not_())
        if len(history):
            limit = limits["unknown_items"]
            yield share(window, "unknown_items", history, limit, asked.level)
        again = listed.with_columns(value=pl.col("items") == pl.col("items").shift(1).over("unit"))
        again = again.drop_nulls("value")
        if len(again):
            mean = float(again["value"].cast(pl.Float64).mean() or 0.0)  # type: ignore[arg-type]
            yield told(window, "the same answer again", "share", mean, len(again))
        shown = listed["items"].explode().drop_nulls().unique()
        yield told(
            window, "coverage of the catalogue", "share", len(shown) / len(items), len(listed)
        )
        cold = reference.items.table.filter(pl.col("band") == "never in training")["item"]
        if len(shown):
            value = int(shown.is_in(cold.implode()).sum()) / len(shown)
            yield told(window, "items shown that training never had", "share", value, len(shown))
    yield from _latency(window, asks, asked)


def _of(
    window: str, name: str, rows: pl.DataFrame, value: pl.Expr, asked: Watching
) -> Iterator[Line]:
    if len(rows):
        of = rows.select("unit", value=value)
        yield share(window, name, of, asked.limits[name], asked.level)


def _latency(window: str, asks: pl.DataFrame, asked: Watching) -> Iterator[Line]:
    times = asks["ms"].drop_nulls()
    if not len(times):
        return
    for name, quantile in (("latency p50", 0.5), ("latency p99", 0.99)):
        value = np.quantile(times.to_numpy(), quantile, method="higher")
        yield told(window, name, "ms", float(value), len(times))
    if asked.p99 is not None:
        rows = asks.drop_nulls("ms").select(unit="order", value=pl.col("ms") > asked.p99)
        yield share(window, f"slower than p99={asked.p99:g} ms", rows, _SLOW, asked.level)
