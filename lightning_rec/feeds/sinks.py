"""Where events go: Parquet parts that ``data=table`` reads, or the sessions of a server."""

import hashlib
import json
import logging
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
from lightning_rec.errors import UserError
from lightning_rec.feeds.sources import Position, Raw
from lightning_rec.files import atomic_path, write_json

log = logging.getLogger(__name__)

COLUMNS = ("user", "item", "time", "key")
REMEMBERED = 1_000_000  # keys, the latest ones
_POSITION = "lightning_rec.position"
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST = 30.0  # seconds between two tries


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

    def take(self, events: list[Event], position: Position) -> int:
        """Keep events and the position after them; how many were new."""
        ...


def events_of(rows: Iterable[Raw], names: Mapping[str, str | None]) -> tuple[list[Event], int]:
    """Events of JSON, and how many were none; ``names``: of the fields, by :data:`COLUMNS`; no name
    of the time: it is not read. What is an id or a time is as training has it.
    """
    said = [_said(row, names) for row in rows]
    told = pl.DataFrame(
        [each for each in said if each], dict.fromkeys(COLUMNS, pl.String), orient="row"
    )
    told = told.with_columns(ids_of(told["user"]), ids_of(told["item"]))
    if names["time"] is not None:
        told = told.filter(is_time(told["time"]))
    found = [Event(*row) for row in told.drop_nulls(["user", "item"]).iter_rows()]
    return found, len(said) - len(found)


def _said(row: Raw, names: Mapping[str, str | None]) -> Event | None:
    """The fields of an event as text; None where it has no user or item, or is no object."""
    try:
        said = json.loads(row.text)
        user, item = (_text(said[names[name]]) for name in ("user", "item"))
        when = None if names["time"] is None else _text(said[names["time"]])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
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
