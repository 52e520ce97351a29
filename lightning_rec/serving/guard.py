"""What each request passes first: key, rate, body, number and time; then it is told of."""

import asyncio
import ipaddress
import logging
import math
import time
from functools import lru_cache
from itertools import count
from secrets import token_hex
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning_rec.serving.direct import again
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.keys import ADMIN, Keys
from lightning_rec.serving.rates import Rates
from lightning_rec.serving.settings import LOOPBACK, Settings
from lightning_rec.serving.telling import Figures, RequestLog

OPEN = ("/health", "/ready")
"""Addresses for whoever looks whether the server lives: without a key, and never refused."""

_PROCESS, _NUMBER = token_hex(4), count()  # a request is named by both

log = logging.getLogger(__name__)


class Guard:
    """An ASGI app around another one.

    ``paths``: addresses that figures are counted by, all others as one. ``page``: addresses of a
    page that holds no data, which need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: Keys,
        figures: Figures,
        paths: frozenset[str],
        page: tuple[str, ...] = (),
    ) -> None:
        self.app, self.settings, self.keys, self.figures = app, settings, keys, figures
        self.paths, self.page = paths, page
        self.rates, self.running = Rates(settings.allowed_rate), 0
        self.log = RequestLog(
            settings.log, settings.log_bytes, settings.log_files, settings.log_ids
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket, which nothing here answers
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        scope["told"] = told = dict[str, Any]()
        try:
            await self._passed(scope, receive, answer, told)
        except Refusal as refusal:
            told["code"] = refusal.code
            if not answer.status:
                await answer.refuse(refusal)
        except Exception:
            log.exception("A request failed, %s.", answer.name)
            told["code"] = "internal"
            if not answer.status:
                await answer.refuse(Refusal("internal", "This could not be answered."))
        self._tell(scope, answer, told)

    async def _passed(
        self, scope: Scope, receive: Receive, answer: "_Answer", told: dict[str, Any]
    ) -> None:
        path = scope["path"]
        if path in OPEN:
            await self.app(scope, receive, answer)
            return
        if path not in self.page:
            self._admit(scope, told)
        if self.running >= self.settings.concurrency:
            wait = {"Retry-After": "1"}
            raise Refusal("overloaded", "Too many requests at once: try again in a second.", wait)
        self.running += 1
        self.figures.running.set(self.running)
        try:
            async with asyncio.timeout(self.settings.timeout):
                body = await self._body(scope, receive)
                whole: Message = {"type": "http.request", "body": body, "more_body": False}
                await self.app(scope, again(whole, receive), answer)
        except TimeoutError:
            seconds = f"{self.settings.timeout:g}"
            raise Refusal("timeout", f"There was no answer within {seconds} seconds.") from None
        finally:
            self.running -= 1
            self.figures.running.set(self.running)

    def _admit(self, scope: Scope, told: dict[str, Any]) -> None:
        """Raise Refusal for a request that may not ask, or asks too often."""
        headers, client = dict(scope["headers"]), scope.get("client")
        caller = told["address"] = client[0] if client else ""
        if self.keys:
            name = self.keys.name_of(_key(headers))
            if name is None:
                kind = {"WWW-Authenticate": "Bearer"}
                raise Refusal("no_key", "Say a key: Authorization: Bearer KEY.", kind)
            caller = told["caller"] = name
        elif self.settings.is_local and not _names_this_machine(headers.get(b"host", b"")):
            # A page of elsewhere whose name was made to lead here.
            raise Refusal("forbidden", "Ask this machine by its own name, such as localhost.")
        if scope["path"].startswith("/admin") and told.get("caller") != ADMIN:
            raise Refusal("forbidden", f"This takes the key of the name {ADMIN}.")
        if wait := self.rates.wait(caller):
            header = {"Retry-After": str(math.ceil(wait))}
            rate = f"{self.settings.allowed_rate:g}"
            raise Refusal("rate_limited", f"A caller may ask {rate} times a second.", header)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises Refusal for a large one, unread where it says so."""
        most, parts, size = self.settings.body, list[bytes](), 0
        too_large = Refusal(
            "too_large", f"A request has at most {most:,} bytes.", {"Connection": "close"}
        )
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said[:20]) > most:
            raise too_large
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal("bad_request", "The request ended early.")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise too_large
            more = message.get("more_body", False)
        return b"".join(parts)

    def _tell(self, scope: Scope, answer: "_Answer", told: dict[str, Any]) -> None:
        path = scope["path"] if scope["path"] in self.paths else "other"
        seconds = time.perf_counter() - answer.since
        self.figures.requests.labels(path, str(answer.status)).inc()
        self.figures.seconds.labels(path).observe(seconds)
        self.log.write(
            id=answer.name,
            method=scope["method"],
            path=path,
            status=answer.status,
            ms=round(1000 * seconds, 2),
            **told,
        )


class _Answer:
    """Where an app sends to: what is answered gets its number, and the status is remembered."""

    def __init__(self, send: Send) -> None:
        self.send, self.status = send, 0
        self.name, self.since = f"{_PROCESS}{next(_NUMBER):08x}", time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            mark = [
                (b"x-request-id", self.name.encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
            message = {**message, "headers": [*message.get("headers", ()), *mark]}
        await self.send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with the error."""
        body = refusal.body()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        pairs = [(k.lower().encode(), v.encode()) for k, v in (headers | refusal.headers).items()]
        await self({"type": "http.response.start", "status": refusal.status, "headers": pairs})
        await self({"type": "http.response.body", "body": body})


def _key(headers: dict[bytes, bytes]) -> str:
    said = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, key = said.partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get(b"x-api-key", b"").decode("latin-1").strip()


@lru_cache(256)
def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1").rsplit(":", 1)[0] if not host.endswith(b"]") else host.decode()
    name = name.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name in LOOPBACK
