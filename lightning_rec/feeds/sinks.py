"""Where events go: Parquet parts that ``data=table`` reads, or the sessions of a server."""

import json
import logging
import os
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.feeds.reading import COLUMNS, Event, Refused, kind_of
from lightning_rec.feeds.sources import Position
from lightning_rec.files import atomic_path, write_json

log = logging.getLogger(__name__)

REMEMBERED = 1_000_000  # keys, the latest ones
_POSITION = "lightning_rec.position"
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST = 30.0  # seconds between two tries


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

    def refused(self) -> list[Refused]:
        """The events, of those taken last, that were not to be kept."""
        ...


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


def _cell(value: Any) -> str | None:
    """A value as a log has it in text: those of a list are parted by ``|``."""
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return "|".join(filter(None, map(_cell, value))) or None
    return value if value is None or isinstance(value, str) else json.dumps(value)


class Parts:
    """Parts of Parquet in a folder, each written whole with the position after it in its metadata.

    What is there is all there is to know: a part that was not renamed was not taken. ``columns``:
    further fields of events, which are kept as text. Raises UserError where others were kept.
    """

    def __init__(
        self, folder: Path, columns: Sequence[str] = (), remembered: int = REMEMBERED
    ) -> None:
        self.folder, self.columns, self.remembered = folder, tuple(columns), remembered
        self.files = sorted(folder.glob("part-*.parquet"))
        for path in self.files[:1]:
            named = pl.read_parquet(path, n_rows=0, glob=False).columns
            kept = [name for name in named if name not in COLUMNS]
            if sorted(kept) != sorted(columns):
                said = f"columns={','.join(kept)}" if kept else "no columns="
                raise UserError(f"{folder} was begun with {said}: say so, or choose a new folder.")
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

    def refused(self) -> list[Refused]:
        """See :class:`Sink`. Whatever is an event is kept."""
        return []

    def take(self, events: list[Event], position: Position) -> int:
        """See :class:`Sink`."""
        once = {event.key: event for event in reversed(events) if event.key not in self._keys}
        new = [event for event in events if once.get(event.key) is event]
        if not new:
            return 0
        rows = [(*event[:4], *(_cell(value) for _, value in event.said)) for event in new]
        columns = dict.fromkeys((*COLUMNS, *self.columns), pl.String)
        table = pl.DataFrame(rows, schema=columns, orient="row")
        number = int(self.files[-1].stem[5:]) + 1 if self.files else 1
        target = self.folder / f"part-{number:08d}.parquet"
        self.folder.mkdir(parents=True, exist_ok=True)
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
    again, and the server counts it once. ``key``: what it wants to be asked with, if anything.
    ``names``: of the fields of an event, by which what it refuses is written into ``put``.
    """

    def __init__(
        self, address: str, state: Path, put: Path, key: str | None,
        names: Mapping[str, str | None],
    ) -> None:  # fmt: skip
        self.address, self.state, self.put = f"{address.rstrip('/')}/events", state, put
        self.key, self.names, self._refused = key, names, list[Refused]()

    def position(self) -> Position:
        """See :class:`Sink`."""
        found: Position = read_json(self.state) if self.state.is_file() else {}
        return found

    def kind(self) -> str | None:
        """See :class:`Sink`. A server has its own clock."""
        return None

    def take(self, events: list[Event], position: Position) -> int:
        """See :class:`Sink`."""
        self._refused = []
        new = sum(self._send(event) for event in events)
        aside(self._refused, self.put)
        self.state.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.state, position)
        return new

    def refused(self) -> list[Refused]:
        """See :class:`Sink`. Those that the server refuses for good."""
        return self._refused

    def _send(self, event: Event) -> bool:
        headers = {"Content-Type": "application/json", "Idempotency-Key": event.key}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        said = {name: value for name, value in event.said if value is not None}
        nested = [name for name, value in said.items() if isinstance(value, list | dict)]
        said |= {name: _cell(said[name]) for name in nested}
        item = {"item": event.item, **said} if said else event.item
        body = json.dumps({"user": event.user, "items": [item]}).encode()
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
                    why = " ".join(error.read(300).decode(errors="replace").split())
                    own = {str(self.names["user"]): event.user, str(self.names["item"]): event.item}
                    line = json.dumps(own | dict(event.said), ensure_ascii=False).encode()
                    self._refused.append(Refused(line, f"{self.address} answers {why}"))
                    return False
            except (OSError, ValueError):
                pass
            log.warning("%s does not take events now; trying again.", self.address)
            time.sleep(wait)
            wait = min(_LONGEST, 2 * wait)


def sink_of(
    to: str, place: Path, put: Path, names: Mapping[str, str | None], columns: Sequence[str]
) -> Sink:
    """Where events go: a server by its address, which is asked with LIGHTNING_REC_KEY, else parts
    in the folder ``place``; see :class:`Server` for the others.
    """
    if to.startswith(("http://", "https://")):
        return Server(to, place, put, os.environ.get("LIGHTNING_REC_KEY"), names)
    return Parts(place, columns)
