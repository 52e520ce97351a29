"""What users did since the model was trained: events of sessions, in memory or in Redis."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from lightning_rec.errors import import_extra
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.events import Event, at_once
from lightning_rec.serving.settings import Settings


class Appended(NamedTuple):
    """How many items a session has now; whether this event had been taken before."""

    total: int
    repeated: bool


class Sessions(Protocol):
    """Events of users, bounded in length and age."""

    async def append(self, user: str, events: Sequence[Event], key: str | None) -> Appended:
        """Take events once, those without a time at this moment; ``key`` names them, and is refused
        with others.
        """
        ...

    async def read(self, user: str) -> tuple[Event, ...]:
        """The latest events of a user, oldest first; none where he has no session."""
        ...

    async def check(self) -> None:
        """Raise Refusal where sessions cannot be had."""
        ...

    async def close(self) -> None:
        """Give back what is held."""
        ...


_REUSED = "This Idempotency-Key came with another event before: give each event its own."


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _said(user: str, events: Sequence[Event]) -> str:
    """What tells events from others, as they were said."""
    return _digest(user, *(each.line() for each in events))


@dataclass
class _Kept:
    events: tuple[Event, ...]
    since: float


@dataclass
class MemorySessions:
    """Sessions of this process; the user who was silent longest goes when there are too many.

    ``users``: most of them; as many keys of events are known. ``items``: of one session, the
    latest. ``seconds``: after which one without an event is forgotten.
    """

    users: int
    items: int
    seconds: float
    _kept: OrderedDict[str, _Kept] = field(default_factory=OrderedDict)
    _keys: OrderedDict[str, tuple[str, float]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._kept)

    async def append(self, user: str, events: Sequence[Event], key: str | None) -> Appended:
        """See :class:`Sessions`."""
        now = time.monotonic()
        self._forget(now)
        before = self._kept[user].events if user in self._kept else ()
        if key is not None:
            event = _said(user, events)
            if key in self._keys:
                if self._keys[key][0] != event:
                    raise Refusal("conflict", _REUSED)
                return Appended(len(before), True)
            self._keys[key] = (event, now)
        whole = (*before, *at_once(events))[-self.items :]
        self._kept[user] = _Kept(whole, now)
        self._kept.move_to_end(user)
        self._forget(now)
        return Appended(len(whole), False)

    async def read(self, user: str) -> tuple[Event, ...]:
        """See :class:`Sessions`."""
        self._forget(time.monotonic())
        return self._kept[user].events if user in self._kept else ()

    async def check(self) -> None:
        """Memory is there."""

    async def close(self) -> None:
        """Nothing is held."""

    def _forget(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) <= self.users and now - oldest.since <= self.seconds:
                break
            self._kept.popitem(last=False)
        while self._keys:
            _, since = next(iter(self._keys.values()))
            if len(self._keys) <= self.users and now - since <= self.seconds:
                break
            self._keys.popitem(last=False)


# One step for Redis, so that two servers cannot take one event twice.
# KEYS: session, the key of the event ('' for none).
# ARGV: seconds, most events, digest of what was said, then a line for each event.
_APPEND = """
local repeated = 0
if KEYS[2] ~= '' then
  local known = redis.call('GET', KEYS[2])
  if known and known ~= ARGV[3] then return {-1, 0} end
  if known then return {redis.call('LLEN', KEYS[1]), 1} end
  redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[1])
end
for place = 4, #ARGV do redis.call('RPUSH', KEYS[1], ARGV[place]) end
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return {redis.call('LLEN', KEYS[1]), 0}
"""


class RedisSessions:
    """Sessions that several servers share. ``address``: of Redis; others as of memory.

    Users stand there by a hash of their id. What Redis itself may hold is its own setting.
    """

    def __init__(self, address: str, items: int, seconds: float) -> None:
        import_extra("redis", "sessions=redis://", "serve")
        from redis import exceptions
        from redis.asyncio import Redis

        self.items, self.seconds = items, max(1, round(seconds))
        self._redis: Any = Redis.from_url(
            address, socket_timeout=1.0, socket_connect_timeout=1.0, decode_responses=True
        )
        self._append = self._redis.register_script(_APPEND)
        self._failed = (exceptions.RedisError, OSError)

    async def append(self, user: str, events: Sequence[Event], key: str | None) -> Appended:
        """See :class:`Sessions`."""
        event = "" if key is None else f"lightning_rec:event:{_digest(key)}"
        keys = [self._name(user), event]
        lines = [each.line() for each in at_once(events)]
        values: list[Any] = [self.seconds, self.items, _said(user, events), *lines]
        try:
            count, repeated = await self._append(keys=keys, args=values)
        except self._failed:
            raise _gone() from None
        if count < 0:
            raise Refusal("conflict", _REUSED)
        return Appended(count, bool(repeated))

    async def read(self, user: str) -> tuple[Event, ...]:
        """See :class:`Sessions`."""
        try:
            lines = await self._redis.lrange(self._name(user), 0, -1)
        except self._failed:
            raise _gone() from None
        return tuple(map(Event.of_line, lines))

    async def check(self) -> None:
        """See :class:`Sessions`."""
        try:
            await self._redis.ping()
        except self._failed:
            raise _gone() from None

    async def close(self) -> None:
        """See :class:`Sessions`."""
        await self._redis.aclose()

    def _name(self, user: str) -> str:
        return f"lightning_rec:visit:{_digest(user)}"  # of items alone it was ``session``


def _gone() -> Refusal:
    return Refusal("no_sessions", "Redis, which keeps the sessions, does not answer.")


def sessions_of(settings: Settings) -> Sessions:
    """Where a server of these settings keeps them."""
    seconds = settings.session_hours * 3600
    if settings.sessions == "memory":
        return MemorySessions(settings.users, settings.session_items, seconds)
    return RedisSessions(settings.sessions, settings.session_items, seconds)
