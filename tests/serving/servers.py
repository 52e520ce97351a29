"""Servers that tests ask: one within the process, one of the command line."""

import json
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from lightning_rec.serving.app import make_app
from lightning_rec.serving.keys import Keys
from lightning_rec.serving.service import Service
from lightning_rec.serving.settings import Settings


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Any

    @property
    def code(self) -> str:
        told: str = self.body["error"]["code"]
        return told


class Asking:
    """A server without a socket; ``run`` runs what asks it."""

    run: Callable[..., Any]

    def __init__(self, folder: Path | None, **said: Any) -> None:
        model = {} if folder is None else {"model": folder}
        self.service = Service(Settings.of(model | said))
        self.app = make_app(self.service, Keys.of(self.service.settings.keys))
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/json", **named}
        return answer_of(await self.client.post(path, content=content, headers=named))

    def __call__(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST a body, GET without one."""
        if body is None:
            return self.run(self._get(path, headers))
        return self.run(self.post(path, body, **headers))

    async def _get(self, path: str, headers: dict[str, str]) -> Answer:
        return answer_of(await self.client.get(path, headers=headers))

    async def close(self) -> None:
        await self.client.aclose()
        await self.service.close()


def answer_of(found: httpx.Response) -> Answer:
    is_json = found.headers.get("content-type") == "application/json"
    return Answer(found.status_code, found.json() if is_json else found.text, found.headers)


class Server:
    """A process of ``lightning-rec serve``; it answers when this is made."""

    def __init__(self, folder: Path | None, *said: str, **environment: str) -> None:
        model = [] if folder is None else [f"model={folder}"]
        words = [sys.executable, "-m", "lightning_rec", "serve", *model]
        if not any(word.startswith("port=") for word in said):
            said = (*said, "port=0")
        self.process = subprocess.Popen(
            [*words, *said], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | environment,
        )  # fmt: skip
        assert self.process.stdout
        self.told = ""
        for line in self.process.stdout:
            self.told += line
            if found := re.search(r"answers at (http://\S+:(\d+)) ", line):
                self.address, self.port = found[1], int(found[2])
                break
        else:
            raise AssertionError(self.told)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told += line

    def __call__(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST a body, GET without one."""
        data = None if body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"Content-Type": "application/json", **named}
        request = urllib.request.Request(self.address + path, data, named)
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                return Answer(found.status, json.loads(found.read()), found.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()), error.headers)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
