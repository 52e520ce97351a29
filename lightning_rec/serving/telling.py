"""What a server tells of itself: figures for Prometheus, and a line of JSON for each request."""

import hashlib
import hmac
import json
import logging
import os
import secrets
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECRET = "LIGHTNING_REC_LOG_SECRET"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Figures:
    """Counts and times of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        name = "lightning_rec_{}".format
        self.requests = Counter(
            name("requests"),
            "Requests by address and status.",
            ["path", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            name("request_seconds"), "From the first byte read to the last one written.", ["path"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.running = Gauge(name("requests_running"), "Answered at this time.", registry=registry)
        self.batch = Histogram(
            name("batch_size"), "Requests that were computed together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=registry,
        )  # fmt: skip
        self.wait = Histogram(
            name("wait_seconds"), "Of the first of a batch, until it was computed.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.cache = Counter(
            name("cache"), "Answers by whether they were kept.", ["found"], registry=registry
        )
        self.events = Counter(name("events"), "Items of events.", registry=registry)
        self.reloads = Counter(name("reloads"), "By how they ended.", ["result"], registry=registry)
        self.model = Gauge(
            name("model"), "The model that answers.", ["name", "version"], registry=registry
        )

    def batched(self, size: int, wait: float) -> None:
        """Take in a batch."""
        self.batch.observe(size)
        self.wait.observe(wait)

    def page(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        return generate_latest(self.registry)


class RequestLog:
    """A line of JSON for each request in a file, of which so many older ones are kept.

    ``ids``: users stand there as a keyed hash, as they are, or not at all. The key of the hash is
    ``LIGHTNING_REC_LOG_SECRET``, else one that ends with the process.
    """

    def __init__(
        self, file: Path | None, size: int, files: int, ids: Literal["hash", "plain", "none"]
    ) -> None:
        self.ids, self._log = ids, logging.Logger("lightning_rec.requests", logging.INFO)
        self._secret = (os.environ.get(SECRET) or secrets.token_hex(32)).encode()
        if file is None:
            self._log.disabled = True
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(file, maxBytes=size, backupCount=files, encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._log.addHandler(handler)

    def write(self, **told: Any) -> None:
        """Write a line; ``user`` and ``address`` are hashed where they are to be."""
        if self._log.disabled:
            return
        for name in ("user", "address"):
            if told.get(name) is not None:
                told[name] = self._hidden(str(told[name]))
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kept = {name: value for name, value in told.items() if value is not None}
        self._log.info(json.dumps({"at": at, **kept}))

    def close(self) -> None:
        """Close the file."""
        for handler in self._log.handlers:
            handler.close()

    def _hidden(self, text: str) -> str | None:
        if self.ids == "none":
            return None
        if self.ids == "plain":
            return text
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:16]
