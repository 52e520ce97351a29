"""Where events come from. Each source reads on from a position, which is plain JSON.

An event has a key, by which it counts once: its own, or else where it stands in the source.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit

from lightning_rec.errors import UserError, import_extra

log = logging.getLogger(__name__)

Position = dict[str, Any]
Read = tuple[list["Raw"], Position]
_BYTES = 2**20  # of a file that are read at once
_COMPARED = 2**16  # bytes before a position, by which a file is known again


class Raw(NamedTuple):
    """place: of an event in its source.  text: JSON, as it came."""

    place: str
    text: bytes


class Source(Protocol):
    """Reads events in their order."""

    def read(self, position: Position, most: int, wait: float) -> tuple[list[Raw], Position]:
        """Up to ``most`` events after a position (empty: the first), and the position after them.

        Waits up to ``wait`` seconds where there are none.
        """
        ...


class FollowedFile:
    """Lines of a file that grows, also when it is rotated by renaming (``FILE``, ``FILE.1``, …) or
    replaced by a copy.

    A position is the file by its number on the disk and the hash of its first line, how many bytes
    of it are read, and the hash of the last of these, by which a copy is known, and a file that was
    cut and written again is not. A last line without an end is waited for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, position: Position, most: int, wait: float) -> tuple[list[Raw], Position]:
        """See :class:`Source`."""
        until = time.monotonic() + wait
        while True:
            found, position = self._there(position, most)
            if found or time.monotonic() >= until:
                return found, position
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))

    def _there(self, position: Position, most: int) -> tuple[list[Raw], Position]:
        files = self._files()
        start = self._start(files, position) if position and files else 0
        found: list[Raw] = []
        for name, path in files[start:]:
            if told := _lines(path, name, position, most - len(found)):
                found, position = found + told[0], told[1]
            if not told or len(found) >= most:
                break
        return found, position

    def _start(self, files: list[tuple[str, Path]], position: Position) -> int:
        """Which file goes on after the position: the same one, or else a copy of it."""
        names, known = [name for name, _ in files], position["file"]
        going = list[int]()
        for number, (name, path) in enumerate(files):
            with path.open("rb") as stream:
                going += [number] * _goes_on(stream, name, position)
        if going:
            return min(going, key=lambda number: names[number] != known)
        alike = [number for number, name in enumerate(names) if _first(name) == _first(known)]
        start = names.index(known) if known in names else alike[-1] if alike else 0
        log.warning(
            "%s: what was read last is gone%s; lines may be lost, and those without a key may "
            "count twice.",
            self.path if not alike else files[start][1],
            ", as the file was cut or changed: it is read from its start" if alike else "",
        )
        return start

    def _files(self) -> list[tuple[str, Path]]:
        """The files that have a whole line, oldest first, by their name within positions."""
        paths = [*self.path.parent.glob(f"{self.path.name}.*"), self.path]
        found = []
        for path in paths:
            if path.suffix in (".gz", ".bz2", ".xz") or not path.is_file():
                continue
            with path.open("rb") as stream:
                if name := _name_of(stream):
                    found.append(
                        (path == self.path, os.fstat(stream.fileno()).st_mtime, name, path)
                    )
        found.sort()  # the one that grows is the last
        return [(name, path) for _, _, name, path in found]


def _name_of(stream: BinaryIO) -> str:
    """By what positions know a file; empty as long as it has no whole line."""
    stream.seek(0)
    first = stream.readline(_BYTES)
    digest = hashlib.sha256(first).hexdigest()[:16]
    return f"{os.fstat(stream.fileno()).st_ino}-{digest}" if first.endswith(b"\n") else ""


def _first(name: str) -> str:
    return name.partition("-")[2]


def _before(stream: BinaryIO, offset: int) -> str:
    """The hash of what stands before an offset."""
    stream.seek(max(0, offset - _COMPARED))
    return hashlib.sha256(stream.read(min(offset, _COMPARED))).hexdigest()[:16]


def _goes_on(stream: BinaryIO, name: str, position: Position) -> bool:
    """Whether all that was read up to a position stands in this file as well."""
    if not position or _first(name) != _first(position["file"]):
        return False
    offset, size = int(position["offset"]), os.fstat(stream.fileno()).st_size
    before = _before(stream, offset)
    return size >= offset and bool(position.get("before", before) == before)


def _lines(path: Path, name: str, position: Position, most: int) -> Read | None:
    """Whole lines after a position, and the position after them; None: it is another file now."""
    found: list[Raw] = []
    with path.open("rb") as stream:
        if _name_of(stream) != name:  # rotated since it was listed
            return None
        offset = int(position["offset"]) if _goes_on(stream, name, position) else 0
        stream.seek(offset)
        while len(found) < most and (line := stream.readline()).endswith(b"\n"):
            if line.strip():  # with what it says: other lines may be written to its place
                says = hashlib.sha256(line).hexdigest()[:16]
                found.append(Raw(f"{name}-{offset}-{says}", line))
            offset += len(line)
        return found, {"file": name, "offset": offset, "before": _before(stream, offset)}


class RedisStream:
    """Entries of a stream, ``redis://HOST:6379/0/STREAM``: fields, or JSON as ``event``."""

    def __init__(self, address: str) -> None:
        redis = import_extra("redis", "from=redis://", "serve")
        parts = urlsplit(address)
        *before, stream = parts.path.strip("/").split("/")
        if not stream or len(before) != 1:
            raise UserError(f"from={address}: name the stream too, as redis://HOST:6379/0/STREAM.")
        self.stream = stream
        base = parts._replace(path=f"/{before[0]}").geturl()
        self._redis: Any = redis.Redis.from_url(base, socket_connect_timeout=5.0)
        self._failed = (redis.exceptions.RedisError, OSError)

    def read(self, position: Position, most: int, wait: float) -> tuple[list[Raw], Position]:
        """See :class:`Source`. Raises UserError where Redis does not answer."""
        last, block = str(position.get("id", "0-0")), max(1, round(1000 * wait)) if wait else None
        try:
            passed = self._passed(position)
            told = self._redis.xread({self.stream: last}, count=most, block=block)
        except self._failed as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"Redis does not answer: {reason}") from None
        entries = _entries(told)
        if not entries:
            return [], position
        rows = [Raw(f"{self.stream}-{_text(name)}", _json_of(fields)) for name, fields in entries]
        return rows, {"id": _text(entries[-1][0]), "passed": passed + len(entries)}

    def _passed(self, position: Position) -> int:
        """How many entries were read, or were cut off before they were, which is told."""
        if not self._redis.exists(self.stream):
            return int(position.get("passed", 0))
        info = self._redis.xinfo_stream(self.stream)
        gone = int(info.get("entries-added", 0)) - int(info["length"])  # from Redis 7 on
        passed = int(position.get("passed", gone))
        if gone > passed:
            log.warning("%s: %s entries were deleted unread.", self.stream, f"{gone - passed:,}")
        return max(gone, passed)


def _entries(told: Any) -> list[tuple[Any, dict[Any, Any]]]:
    """Of an answer of XREAD, which is a list or, from protocol 3 on, a dictionary."""
    groups = told.values() if isinstance(told, dict) else [each[1] for each in told or ()]
    found: list[tuple[Any, dict[Any, Any]]] = []
    for group in groups:
        inner = group[0] if group and isinstance(group[0], list) else group
        found += [(name, fields) for name, fields in inner]
    return found


def _json_of(fields: dict[Any, Any]) -> bytes:
    named = {_text(name): _text(value) for name, value in (fields or {}).items()}
    return named["event"].encode() if set(named) == {"event"} else json.dumps(named).encode()


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class KafkaTopic:
    """Records of a topic, ``kafka://HOST:9092/TOPIC``. Let producers key them by user: a partition
    keeps their order.
    """

    def __init__(self, address: str) -> None:
        kafka = import_extra("kafka", "from=kafka://", "kafka")
        parts = urlsplit(address)
        self.topic = parts.path.strip("/")
        if not self.topic or "/" in self.topic:
            raise UserError(f"from={address}: name the topic too, as kafka://HOST:9092/TOPIC.")
        self._partition = kafka.TopicPartition
        try:
            self._consumer: Any = kafka.KafkaConsumer(
                bootstrap_servers=parts.netloc, enable_auto_commit=False, group_id=None
            )
        except kafka.errors.KafkaError as error:
            raise UserError(f"from={address}: Kafka does not answer ({error}).") from None
        self._at: Position | None = None

    def read(self, position: Position, most: int, wait: float) -> tuple[list[Raw], Position]:
        """See :class:`Source`."""
        if position != self._at:
            self._seek(position)
        found, after = list[Raw](), dict(position)
        told = self._consumer.poll(timeout_ms=round(1000 * wait), max_records=most)
        for partition, records in told.items():
            for record in records:
                place = f"{self.topic}-{partition.partition}-{record.offset}"
                found.append(Raw(place, record.value or b""))
                after[str(partition.partition)] = record.offset + 1
        self._at = after
        return found, after

    def _seek(self, position: Position) -> None:
        numbers = sorted(self._consumer.partitions_for_topic(self.topic) or ())
        parts = [self._partition(self.topic, number) for number in numbers]
        if not parts:
            raise UserError(f"Kafka has no topic '{self.topic}'.")
        self._consumer.assign(parts)
        self._consumer.seek_to_beginning(*parts)
        for part in parts:
            if str(part.partition) in position:
                self._consumer.seek(part, int(position[str(part.partition)]))
        self._at = dict(position)


def source_of(address: str, *, follow: bool = False) -> Source:
    """The source of ``from=``. Raises UserError for another address, and for a file that is not
    there, which only who follows it waits for.
    """
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme in ("redis", "rediss"):
        return RedisStream(address)
    if scheme == "kafka":
        return KafkaTopic(address)
    if scheme:
        raise UserError(f"from={address}: it is a file, redis://… or kafka://…")
    path = Path(address)
    if path.exists() and not path.is_file():
        raise UserError(f"from={address} is no file: name a file whose lines are events.")
    if not path.exists() and not any(path.parent.glob(f"{path.name}.*")):
        if not follow:
            raise UserError(f"from={address} is not there; follow=true waits for it.")
        log.warning("%s is not there yet: it is waited for.", path)
    return FollowedFile(path)


def batches(
    source: Source, position: Position, most: int, wait: float, *, follow: bool
) -> Iterator[tuple[list[Raw], Position]]:
    """What comes, with the position after it: ``most`` events, or those of ``wait`` seconds.

    Without ``follow`` until there is no more.
    """
    kept, since = list[Raw](), time.monotonic()
    while True:
        left = wait - (time.monotonic() - since) if kept else wait
        found, position = source.read(position, most - len(kept), max(0.0, left))
        since = since if kept else time.monotonic()
        kept += found
        ends = not found and not follow
        if kept and (ends or len(kept) >= most or time.monotonic() - since >= wait > 0):
            yield kept, position
            kept = []
        if ends:
            return
