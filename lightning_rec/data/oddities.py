"""What is odd about a log or its text: allowed, but seldom meant; and how often items come back."""

import time as clock
from collections.abc import Iterator, Sequence

import polars as pl

from lightning_rec.data.order import FIRST_SHOP
from lightning_rec.data.repeats import COPIES, REMEDY, TOLD_FROM
from lightning_rec.data.statistics import Statistics
from lightning_rec.data.tabular import Table
from lightning_rec.errors import listed

_GARBLED = {
    "Ã[\u0080-¿\u0152-\u2122]|Â[\u00a0-¿]|â€|Ð[\u0080-¿]Ñ": (
        "looks like UTF-8 that was read as latin-1 or cp1252: leave data.encoding out, or, if the "
        "file itself was written so, write it anew"
    ),
    "[\u0080-\u009f]": (
        "has control characters, as latin-1 makes of the quotes of cp1252: try data.encoding=cp1252"
    ),
    "\ufffd": "has � in place of letters that were lost when it was written",
}
_SHOWN = 40  # characters of a value that are shown
_SHORTEST = {
    "users": (3, "to train on, to validate and to test"),  # one event each
    "sessions": (2, "to have a next item"),
}


def oddities(events: pl.LazyFrame, figures: Statistics, units: str) -> Iterator[str]:
    """One sentence for each thing that is allowed, but seldom meant, of users or sessions."""
    for role in ("user", "item"):
        signs = pl.col(role).filter(pl.col(role).str.contains(r"[\p{L}\p{N}]").not_())
        if odd := events.select(signs.first()).collect(engine="streaming").item():
            yield f"The {role} id '{odd}' has no letter and no digit: does it stand for none?"
    least, why = _SHORTEST[units]
    if few := _rarer(events, "user", least):
        yield (
            f"{few:,} of {figures.users:,} {units} have fewer than {least} events: too few {why}."
        )
    if once := _rarer(events, "item", 2):
        yield f"{once:,} of {figures.items:,} items occur only once."
    if figures.first is None or figures.last is None:
        return
    if figures.first == figures.last:
        yield "All times are the same: no order can be learnt from them."
    stamp = pl.col("timestamp")
    for words, odd in (
        ("before 1995", stamp < FIRST_SHOP),
        ("in the future", stamp > int(clock.time())),
    ):
        if count := events.select(odd.sum()).collect(engine="streaming").item():
            yield f"{count:,} times are {words}: is the unit right?"


def repeats(
    events: pl.LazyFrame, figures: Statistics, named: Sequence[str], units: str, *, whole: bool
) -> tuple[int, list[str]]:
    """How many events have the user and item of another one and are no copies, and what to say.
    ``named`` are the columns that were read, ``whole``: whether these are all columns of the table.
    """
    timed = figures.first is not None
    rows = events.select(pl.struct(pl.all()).hash().n_unique())
    distinct = rows.collect(engine="streaming").item()
    told, copies = [], figures.events - distinct
    if copies:
        alike = "exact copies of another row"
        if not whole:
            alike = f"alike in the named columns ({listed(named)}) to another row"
        remedy = f" {COPIES}" if timed and copies > TOLD_FROM * figures.events else ""
        told.append(f"{copies:,} rows are {alike}; they count as events.{remedy}")
    repeated = (distinct if timed else figures.events) - figures.pairs
    if timed and repeated > TOLD_FROM * figures.events and units == "users":
        share = f"{repeated:,} of {figures.events:,} ({repeated / figures.events:.1%})"
        told.append(f"{share} events have the user and the item of an earlier one. {REMEDY}")
    return repeated, told


def garbled(table: Table) -> Iterator[str]:
    """One sentence for each column of text that seems to have been read in a wrong encoding."""
    texts = [name for name, dtype in table.schema.items() if dtype == pl.String]
    row = pl.int_range(pl.len())
    found = table.collect(
        table.frame.select(
            row.filter(pl.col(name).str.contains(pattern)).min().alias(f"{place} {kind}")
            for place, name in enumerate(texts)
            for kind, pattern in enumerate(_GARBLED)
        )
    )
    rows = found.row(0, named=True) if texts else {}
    for place, name in enumerate(texts):
        for kind, told in enumerate(_GARBLED.values()):
            if (at := rows[f"{place} {kind}"]) is not None:
                value = table.frame.select(name).slice(at, 1).collect(engine="streaming").item()
                shown = str(value)[:_SHOWN]
                yield f"{table.where(at)}: {shown!r} in column '{name}' {told}."
                break


def _rarer(events: pl.LazyFrame, key: str, least: int) -> int:
    counts = events.group_by(key).agg(pl.len().alias("count"))
    rare = counts.select((pl.col("count") < least).sum())
    return int(rare.collect(engine="streaming").item())
