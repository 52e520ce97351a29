"""Days, weeks and months of a log: which of them are whole."""

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from lightning_rec.errors import UserError
from lightning_rec.rules.given import Moment, moment

Every = Literal["day", "week", "month"]
STEPS: dict[str, str] = {"day": "1d", "week": "1w", "month": "1mo"}  # weeks begin on Mondays, UTC
# The period of the first event is left out if, of it, a larger share than SHORT passes before that
# event, so long that it would be by chance alone once in so many whole ones.
CHANCE = 0.01
SHORT = 0.05
QUIET = 3  # periods without an event up to until=, above which it is told


def begins(events: pl.LazyFrame, every: Every, since: Moment | None) -> date:
    """The first day of the first whole period; see :func:`demand_of`."""
    step = STEPS[every]
    if since is not None:
        day = datetime.fromtimestamp(moment("since", since), UTC)
        begun = _truncated(day.date(), step)
        exact = datetime(begun.year, begun.month, begun.day, tzinfo=UTC) == day
        return begun if exact else _next(begun, step)
    time = pl.col("timestamp")
    asked = time.min().alias("first"), time.max().alias("last"), pl.len()
    first, last, number = events.select(asked).collect().row(0)
    day = datetime.fromtimestamp(first, UTC)
    begun = _truncated(day.date(), step)
    bounds = (datetime(x.year, x.month, x.day, tzinfo=UTC) for x in (begun, _next(begun, step)))
    start, end = (each.timestamp() for each in bounds)
    late = first - start
    by_chance = np.exp(-late * number / max(1.0, last - first))
    partial = late > SHORT * (end - start) and by_chance < CHANCE
    return _next(begun, step) if partial else begun


def _next(day: date, step: str) -> date:
    found: date = pl.Series([day]).dt.offset_by(step)[0]
    return found


def _early(table: pl.DataFrame, every: Every, begin: date, since: Moment | None) -> list[str]:
    """What is told of events before the first whole period."""
    if not (early := table.filter(pl.col("period") < begin)["events"].sum()):
        return []
    why = (
        f"the log begins within that {every}; say since=DATE, from which on it is whole, if it "
        "does not"
        if since is None
        else f"by since={since} it is whole from then on"
    )
    return [f"{early:,} events before {begin} are left out: {why}."]


def periods(
    table: pl.DataFrame, every: Every, begin: date, until: Moment | None, since: Moment | None
) -> tuple[list[date], tuple[str, ...]]:
    """The first days of all whole periods, and what is told of the others.

    Raises UserError if there are none, or ``until`` lies as far after the log as that is long.
    """
    step = STEPS[every]
    end = table["period"].max()
    assert isinstance(end, date)
    after = end if until is None else _truncated(_first_day_after(until), step)
    starts = pl.date_range(begin, after, step, closed="left", eager=True).to_list()
    if begin > end:
        raise UserError(
            f"The log holds no whole {every}: the first one begins on {begin}, and the last event "
            f"is of that from {end}. Take shorter periods (every=), or name an earlier since=DATE, "
            "from which on the log is whole."
        )
    if not starts:
        why = (
            f"all of it is within that from {begin}, in which it may end: say until=DATE if it "
            "does not"
            if until is None
            else f"it begins in that from {begin}, and until={until} says that it is whole up to "
            "then: name a later date"
        )
        raise UserError(f"The log holds no whole {every}: {why}, or take shorter periods (every=).")
    told = _early(table, every, begin, since)
    if lost := table.filter(pl.col("period") >= after)["events"].sum():
        why = (
            f"the log may end within that {every}; say until=DATE if it does not"
            if until is None
            else f"by until={until} that {every} is not over"
        )
        told.append(f"{lost:,} events from {after} on are left out: {why}.")
    quiet = sum(each > end for each in starts)
    if quiet > QUIET:
        why = (
            f"until={until}: the last event is of the {every} from {end}, and {quiet:,} {every}s "
            "without any event come after it"
        )
        mend = "say until= with the date at which the log was taken"
        if 2 * quiet > len(starts):
            raise UserError(f"{why}, more than there are before: {mend}.")
        told.append(f"{why}; they count as 0. If the log ends earlier, {mend}.")
    return starts, tuple(told)


def _first_day_after(until: Moment) -> date:
    """The day on which ``until`` is: all before it is whole. Of a date without a time of day, which
    is whole itself, the day after it. Raises UserError for what is no time.
    """
    day = datetime.fromtimestamp(moment("until", until), UTC).date()
    if isinstance(until, str):
        dated = ":" not in until and not until.strip().lstrip("-").replace(".", "", 1).isdigit()
    else:
        dated = isinstance(until, date) and not isinstance(until, datetime)
    return day + timedelta(days=1) if dated else day


def _truncated(day: date, step: str) -> date:
    """The first day of the period that ``day`` is in."""
    found: date = pl.Series([day]).dt.truncate(step)[0]
    return found
