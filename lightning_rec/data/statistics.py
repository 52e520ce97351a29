"""What a log looks like, in a few figures."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from lightning_rec.data.schema import TIMED


class Statistics(NamedTuple):
    """Figures of a log; first, last and ties are None where there are no times."""

    users: int
    items: int
    events: int
    median_history: float
    first: int | None
    last: int | None
    ties: float | None
    """Share of events at the very second of another event of the same user."""
    pairs: int
    """Of a user and an item that meet, each once."""

    def rows(self, units: str = "users") -> list[tuple[str, str]]:
        """Name and value of each figure, to be shown; ``units``: users, or sessions."""
        shown = [
            (units, f"{self.users:,}"),
            ("items", f"{self.items:,}"),
            ("events", f"{self.events:,}"),
            ("density", f"{self.pairs / (self.users * self.items):.4%}"),
            ("median history", f"{self.median_history:g} events"),
        ]
        if self.first is None or self.last is None or self.ties is None:
            return [*shown, ("period", "no times")]
        period = f"{day(self.first)} to {day(self.last)}"
        return [*shown, ("period", period), (f"ties in time within {units}", f"{self.ties:.1%}")]


def statistics(events: pl.LazyFrame) -> Statistics:
    """Figures of ``events``: ``user`` and ``item`` of any type, perhaps ``timestamp`` Int64."""
    per_user = events.group_by("user").agg(pl.len().alias("length"))
    lengths = per_user.collect(engine="streaming")["length"]
    median = lengths.median()
    facts: dict[str, Any] = {"items": pl.col("item").n_unique()}
    facts["pairs"] = pl.struct("user", "item").hash().n_unique()
    ties = None
    if timed := [name for name in TIMED if name in events.collect_schema()]:
        facts |= {"first": pl.col("timestamp").min(), "last": pl.col("timestamp").max()}
        moments = events.group_by("user", *timed).agg(pl.len().alias("together"))
        together = pl.col("together")
        tied = moments.select(together.filter(together > 1).sum())
        ties = tied.collect(engine="streaming").item() / max(lengths.sum(), 1)
    found = events.select(**facts).collect(engine="streaming").row(0, named=True)
    return Statistics(
        users=len(lengths),
        items=found["items"],
        events=int(lengths.sum()),
        pairs=found["pairs"],
        median_history=float(median) if isinstance(median, (int, float)) else 0.0,
        first=found.get("first"),
        last=found.get("last"),
        ties=ties,
    )


def day(seconds: int) -> str:
    """The day of a timestamp, in UTC; the number itself where no calendar reaches."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return str(seconds)
