"""Where events go: Parquet parts that ``data=table`` reads, or the sessions of a server."""

import hashlib
import json
import logging
import re
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import polars as pl

from lightning_rec.data.ids import AROUND, EXACT, MISSING, ids_of
from lightning_rec.data.times import is_time
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.feeds.sources import Position, Raw
from lightning_rec.files import atomic_path, write_json

log = logging.getLogger(__name__)

COLUMNS = ("user", "item", "time", "key")
REMEMBERED = 1_000_000  # keys, the latest ones
_POSITION = "lightning_rec.position"
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST = 30.0  # seconds between two tries
_UNITS = {"seconds": 1e11, "milliseconds": 1e14, "microseconds": 1e17}  # of numbers below


class Event(NamedTuple):
    """key: by which it counts once."""

    user: str
    item: str
    time: str | None
    key: str


class Sink(Protocol):
    """Takes events in their order."""

    def position(self) -> Position:
        """After what was taken last."""
        ...

    def kind(self) -> str | None:
        """How times are written that are kept: see :func:`kind_of`; None where none is."""
        ...

    def take(self, events: list[Event], position: Position) -> int:
        """Keep events and the position after them; how many were new."""
        ...


class Refused(NamedTuple):
    """line: as it came. why: it is no event."""

    line: bytes
    why: str


def events_of(
    rows: Iterable[Raw], names: Mapping[str, str | None], kind: str | None = None
) -> tuple[list[Event], list[Refused]]:
    """Events of JSON, and what is none; ``names``: of the fields, by :data:`COLUMNS`; no name of
    the time: it is not read. What is an id or a time is as training has it. ``kind``: that of
    times, see :func:`kind_of`; None takes that of the first one, as training reads one kind alone.
    """
    rows = list(rows)
    said = [_said(row, names) for row in rows]
    told = pl.DataFrame(
        [each if isinstance(each, Event) else [None] * len(COLUMNS) for each in said],
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
            found.append(Event(*event))
    return found, refused


def aside(refused: list[Refused], path: Path) -> None:
    """Put lines that are no events into a file of their own, each once, so that none is lost."""
    if not refused:
        return
    first = refused[0]
    log.warning("%s lines are no events; of the first one, %s.", f"{len(refused):,}", first.why)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = set(path.read_bytes().splitlines()) if path.exists() else set()
    lines = dict.fromkeys(each.line.rstrip(b"\r\n") for each in refused)
    with path.open("ab") as stream:
        stream.writelines(line + b"\n" for line in lines if line not in kept)


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


def _said(row: Raw, names: Mapping[str, str | None]) -> Event | str:
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
    return Event(user, item, when, digest)


def _text(value: Any) -> str:
    """Raises ValueError for what is neither text nor a number that has all its digits."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    if isinstance(value, float) and not abs(value) < EXACT[pl.Float64()]:
        raise ValueError
    text = str(value)
    text.encode()  # half of a pair of signs is no text
    return text


class Parts:
    """Parts of Parquet in a folder, each written whole with the position after it in its metadata.

    What is there is all there is to know: a part that was not renamed was not taken.
    """

    def __init__(self, folder: Path, remembered: int = REMEMBERED) -> None:
        self.folder, self.remembered = folder, remembered
        folder.mkdir(parents=True, exist_ok=True)
        self.files = sorted(folder.glob("part-*.parquet"))
        self._keys: OrderedDict[str, None] = OrderedDict()
        for path in reversed(self.files):  # the latest first, until enough are known
            keys = pl.read_parquet(path, columns=["key"], glob=False)["key"].to_list()
            self._keys |= dict.fromkeys(reversed(keys))
            if len(self._keys) >= remembered:
                break
        self._keys = OrderedDict.fromkeys(reversed(self._keys))

    def position(self) -> Position:
        """See :class:`Sink`. Raises UserError where a part was written by something else."""
        if not self.files:
            return {}
        told = pl.read_parquet_metadata(self.files[-1]).get(_POSITION)
        if told is None:
            raise UserError(f"{self.files[-1]} is of something else: choose a new to=FOLDER.")
        found: Position = json.loads(told)
        return found

    def kind(self) -> str | None:
        """The kind of times that are kept; None where there are none."""
        if not self.files:
            return None
        times = pl.read_parquet(self.files[0], columns=["time"], n_rows=1, glob=False)["time"]
        return None if times[0] is None else kind_of(times[0])

    def take(self, events: list[Event], position: Position) -> int:
        """See :class:`Sink`."""
        once = {event.key: event for event in reversed(events) if event.key not in self._keys}
        new = [event for event in events if once.get(event.key) is event]
        if not new:
            return 0
        columns = dict.fromkeys(COLUMNS, pl.String)
        table = pl.DataFrame(new, schema=columns, orient="row")
        number = int(self.files[-1].stem[5:]) + 1 if self.files else 1
        target = self.folder / f"part-{number:08d}.parquet"
        with atomic_path(target) as temporary:
            table.write_parquet(temporary, metadata={_POSITION: json.dumps(position)})
        self.files.append(target)
        self._keys |= dict.fromkeys(event.key for event in new)
        while len(self._keys) > self.remembered:
            self._keys.popitem(last=False)
        return len(new)


class Server:
    """``/events`` of a server, one request for each event, whose key it knows it by.

    ``state``: a file with the position, written after each batch: what was sent since is sent
    again, and the server counts it once.
    """

    def __init__(self, address: str, state: Path, key: str | None) -> None:
        self.address, self.state, self.key = f"{address.rstrip('/')}/events", state, key

    def position(self) -> Position:
        """See :class:`Sink`."""
        found: Position = read_json(self.state) if self.state.is_file() else {}
        return found

    def kind(self) -> str | None:
        """See :class:`Sink`. A server has its own clock."""
        return None

    def take(self, events: list[Event], position: Position) -> int:
        """See :class:`Sink`. An event that the server refuses for good is told, and left."""
        new = sum(self._send(event) for event in events)
        self.state.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.state, position)
        return new

    def _send(self, event: Event) -> bool:
        headers = {"Content-Type": "application/json", "Idempotency-Key": event.key}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        body = json.dumps({"user": event.user, "items": [event.item]}).encode()
        wait = 0.1
        while True:
            request = urllib.request.Request(self.address, body, headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return not json.loads(answer.read())["repeated"]
            except urllib.error.HTTPError as error:
                if error.code in (401, 403):
                    raise UserError(f"{self.address} wants a key: LIGHTNING_REC_KEY.") from None
                if error.code not in _AGAIN:
                    log.warning("An event was refused for good: %s", error.read(500).decode())
                    return False
            except (OSError, ValueError):
                pass
            log.warning("%s does not take events now; trying again.", self.address)
            time.sleep(wait)
            wait = min(_LONGEST, 2 * wait)
