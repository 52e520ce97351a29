"""A running server as the shop of a world: asked and told over HTTP, several users at once."""

import http.client
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from lightning_rec.errors import UserError
from lightning_rec.simulation.playing import Answer, Told

_CLIENTS = 8
_REFUSED = ("unknown_user",)  # what a shop has to live with
_SECONDS = 60.0


class Server:
    """``lightning-rec serve`` at an address.

    Args:
        url: http://HOST:PORT.
        rules: of each request, such as ``{"explore": "epsilon:0.2", "pool": 20}``.
        key: as servers want it that others may ask.
        play: what this play is called: an event of it counts once.

    Raises:
        UserError: for an address that is none.
    """

    def __init__(self, url: str, rules: dict[str, Any], key: str | None, play: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # of a port that is none
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise UserError(f"url={url}: say it as http://127.0.0.1:8000.")
        self.url, self.rules, self.play = url, rules, play
        secure = parts.scheme == "https"
        self._kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._where = host, port, parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._own = threading.local()

    def ask(self, users: Sequence[str], k: int, seed: int) -> list[Answer]:
        """See :class:`Shop`. Raises UserError where the server is away, or refuses the question."""
        more = {"rules": self.rules | {"seed": seed}} if self.rules else {}
        with ThreadPoolExecutor(_CLIENTS) as threads:
            asked = ({"user": user, "k": k, **more} for user in users)
            return list(threads.map(self._answer, asked))

    def tell(self, events: Sequence[Told]) -> None:
        """See :class:`Shop`. Raises UserError likewise."""
        with ThreadPoolExecutor(_CLIENTS) as threads:
            list(threads.map(self._event, events))

    def _answer(self, asked: dict[str, Any]) -> Answer:
        status, told = self._post("/recommend", asked)
        if status != 200:
            if told["error"]["code"] in _REFUSED:
                return Answer([], refused=True)
            raise self._error(told)
        rows = told["items"]
        chances = [row["propensity"] for row in rows] if "explore" in self.rules else None
        return Answer([row["item"] for row in rows], chances, told.get("variant"))

    def _event(self, event: Told) -> None:
        body = {"user": event.user, "items": event.items}
        status, told = self._post(
            "/events", body, **{"Idempotency-Key": f"{self.play} {event.key}"}
        )
        if status != 200:  # a click that no log has would make a variant worse than it is
            raise self._error(told)

    def _error(self, told: dict[str, Any]) -> UserError:
        return UserError(f"{self.url} refused: {told['error']['message']}")

    def _post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
        host, port, prefix = self._where
        if not hasattr(self._own, "connection"):
            self._own.connection = self._kind(host, port, timeout=_SECONDS)
        connection = self._own.connection
        try:
            connection.request("POST", prefix + path, json.dumps(body), self._headers | headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UserError(
                f"{self.url} does not answer ({error or type(error).__name__}): is 'lightning-rec "
                "serve' running there? Nothing was written."
            ) from None
        if answer.status == 200 or isinstance(told.get("error"), dict):
            return answer.status, told
        raise UserError(f"{self.url} is no server of 'lightning-rec serve'.")
