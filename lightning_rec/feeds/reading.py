"""Events as a feed says them in JSON, and what is none."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from lightning_rec.data.ids import AROUND, EXACT, MISSING, ids_of
from lightning_rec.data.times import is_time
from lightning_rec.errors import UserError, listed
from lightning_rec.feeds.sources import Raw

COLUMNS = ("user", "item", "time", "key")
_UNITS = {"seconds": 1e11, "milliseconds": 1e14, "microseconds": 1e17}  # of numbers below


class Event(NamedTuple):
    """key: by which it counts once. said: other fields and their values, None where there is none,
    in the order in which they were asked for.
    """

    user: str
    item: str
    time: str | None
    key: str
    said: tuple[tuple[str, Any], ...] = ()


class Refused(NamedTuple):
    """line: as it came. why: it is no event."""

    line: bytes
    why: str


def events_of(
    rows: Iterable[Raw], names: Mapping[str, str | None], kind: str | None = None,
    columns: Sequence[str] = (),
) -> tuple[list[Event], list[Refused]]:  # fmt: skip
    """Events of JSON, and what is none; ``names``: of the fields, by :data:`COLUMNS`; no name of
    the time: it is not read. What is an id or a time is as training has it. ``kind``: that of
    times, see :func:`kind_of`; None takes that of the first one, as training reads one kind alone.
    ``columns``: further fields, which an event may have.
    """
    rows = list(rows)
    said = [_said(row, names, columns) for row in rows]
    told = pl.DataFrame(
        [each[:4] if isinstance(each, Event) else [None] * len(COLUMNS) for each in said],
        dict.fromkeys(COLUMNS, pl.String), orient="row",
    )  # fmt: skip
    known = is_time(told["time"]) if names["time"] is not None else pl.repeat(True, len(told))
    told = told.with_columns(ids_of(told["user"]), ids_of(told["item"]), known=known)
    found, refused = list[Event](), list[Refused]()
    for row, each, (*event, timed) in zip(rows, said, told.iter_rows(), strict=True):
        why = each if isinstance(each, str) else _fault(names, *event[:3], timed=bool(timed))
        if not why and names["time"] is not None:
            own = kind_of(event[2])
            kind = kind or own
            if own != kind:
                why = f"'{event[2]}' is {own}, times before it are {kind}"
        if why:
            refused.append(Refused(row.text, why))
        else:
            assert isinstance(each, Event)
            found.append(each._replace(user=event[0], item=event[1]))
    return found, refused


def check_columns(columns: Sequence[str], names: Mapping[str, str | None]) -> None:
    """Raise UserError for a further field that is one of the event's own, or stands there twice."""
    own = {*COLUMNS, *names.values()}
    for name in columns:
        if not name or name in own or columns.count(name) > 1:
            raise UserError(
                f"columns={','.join(columns)}: '{name}' is no further field. Name each once, but "
                "for user, item, time and key, which are kept anyway."
            )


def check_first(
    source: str, events: Sequence[Event], refused: Sequence[Refused], columns: Sequence[str]
) -> None:
    """Raise UserError where the first lines hold no event, or a further field is in none."""
    if refused and not events:
        raise UserError(
            f"{source} has no event: of its first line, {refused[0].why}. Other names of fields "
            "are said by user=, item=, time= and key=; time=null reads no times."
        )
    has = {name for event in events for name, value in event.said if value is not None}
    if events and (missing := [name for name in columns if name not in has]):
        raise UserError(f"columns={','.join(columns)}: no event has {listed(missing)}.")


def kind_of(time: str) -> str:
    """How a time is written: a number of seconds, milliseconds, …, or what kind of date."""
    if re.fullmatch(r"\s*[+-]?\d+(\.\d*)?\s*", time):
        size = abs(float(time))
        return next((unit for unit, most in _UNITS.items() if size < most), "nanoseconds")
    signs = re.sub(r"[\d\s]", "", time.partition("T")[0].strip().partition(" ")[0])
    return f"dates with '{signs[:1]}'" if signs else "dates"


def _fault(
    names: Mapping[str, str | None], user: str | None, item: str | None, time: str | None,
    *, timed: bool,
) -> str:  # fmt: skip
    """Why values are no event; empty where they are one."""
    for value, role in ((user, "user"), (item, "item")):
        if value is None:
            return f"'{names[role]}' stands for no {role}"
    return "" if timed else f"'{time}' in '{names['time']}' is no time"


def _said(row: Raw, names: Mapping[str, str | None], columns: Sequence[str]) -> Event | str:
    """The fields of an event as text; else why there are none."""
    try:
        said = json.loads(row.text)
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(said, dict):
        return "it is no JSON object"
    wanted = [name for role, name in names.items() if role != "key" and name is not None]
    if missing := [name for name in wanted if name not in said]:
        return f"it has no field {listed(missing)}; it has {listed(said, 10) or 'none'}"
    try:
        user, item = (_text(said[names[name]]) for name in ("user", "item"))
        when = None if names["time"] is None else _text(said[names["time"]])
    except ValueError:
        return "its ids or its time are neither text nor numbers that have all their digits"
    key = said.get(names["key"])
    named = key is not None and str(key).strip(AROUND) not in MISSING
    own = f"key {key}" if named else f"place {row.place}"
    digest = hashlib.sha256(own.encode("utf-8", "replace")).hexdigest()[:32]
    return Event(user, item, when, digest, tuple((name, said.get(name)) for name in columns))


def _text(value: Any) -> str:
    """Raises ValueError for what is neither text nor a number that has all its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if isinstance(value, float) and not abs(value) < EXACT[pl.Float64()]:
        raise ValueError
    text = str(value)
    text.encode()  # half of a pair of signs is no text
    return text
