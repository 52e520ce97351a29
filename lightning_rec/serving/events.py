"""What somebody did, as requests say it and sessions keep it: an item, when, and columns."""

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import polars as pl

from lightning_rec.errors import UserError
from lightning_rec.predict.asking import polars_of
from lightning_rec.rules.given import moment
from lightning_rec.serving.raw_ids import text_of
from lightning_rec.serving.schemas import HistoryItem, Item

# What a frame of events has for itself: no column of a log can be said by these names.
OURS = frozenset(("user", "item", "time", "history", "row", "code"))


class Event(NamedTuple):
    """``item``: its id, "" for none.  ``time``: seconds since 1970, None where nobody said it.
    ``said``: columns and their values, by name.
    """

    item: str
    time: float | None = None
    said: tuple[tuple[str, Any], ...] = ()

    def line(self) -> str:
        """As a text, which :meth:`of_line` reads."""
        return json.dumps([self.item, self.time, dict(self.said)])

    @classmethod
    def of_line(cls, line: str) -> "Event":
        """What :meth:`line` wrote."""
        item, when, said = json.loads(line)
        return cls(item, when, tuple(said.items()))


def events_of(given: Iterable[Item]) -> list[Event]:
    """Items of a request, which may say more than their ids. Raises UserError for a bad time."""
    return [
        Event(
            text_of(each.item) or "",
            None if each.time is None else moment("time", each.time),
            tuple(sorted((each.model_extra or {}).items())),
        )
        if isinstance(each, HistoryItem)
        else Event(text_of(each) or "")
        for each in given
    ]


def names_of(given: Iterable[Item]) -> list[str]:
    """The ids of items of a request, "" for what is none."""
    return [text_of(each.item if isinstance(each, HistoryItem) else each) or "" for each in given]


def at_once(events: Sequence[Event]) -> list[Event]:
    """The events, those without a time at this moment."""
    at = time.time()
    return [each if each.time is not None else each._replace(time=at) for each in events]


def frame_of(events: Sequence[Event]) -> pl.DataFrame:
    """A row for each event: ``user`` (one), ``item``, ``time`` if any has one, and what is said.

    Raises UserError where the values of a column do not go together.
    """
    columns: dict[str, list[Any]] = {"user": ["0"] * len(events)}
    columns["item"] = [each.item or None for each in events]
    for name in sorted({name for each in events for name, _ in each.said} - OURS):
        columns[name] = [dict(each.said).get(name) for each in events]
    if any(each.time is not None for each in events):
        columns["time"] = [each.time for each in events]
    try:
        return polars_of(columns).with_columns(pl.col("item").cast(pl.String))
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise UserError("The values of a column are of one kind: numbers or texts.") from None
