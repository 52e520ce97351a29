"""``lightning-rec report FOLDER --watch``: the page of runs that go on, on this machine alone."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lightning_rec.errors import UserError

HOST = "127.0.0.1"
EVERY = 2.0  # seconds between two looks at the folders
LOOKED_AT = ("run.json", "metrics.json", "study.db", "train.log", "planned.json")

log = logging.getLogger(__name__)


class Watched:
    """The latest page, and its version; one thread writes them, those of the server read them."""

    def __init__(self, render: Callable[[str], str]) -> None:
        """``render``: makes the page of a version; it may raise UserError or OSError."""
        self.render = render
        self.page: tuple[str, bytes] = ("", b"")

    def renew(self, version: str) -> str | None:
        """Make the page anew; what was in the way, if the one before it stays."""
        try:
            self.page = (version, self.render(version).encode())
        except (UserError, OSError) as error:  # such as a run that is being written
            return str(error)
        return None


def version_of(sources: Sequence[Path]) -> str:
    """Changes when what is shown does: names, sizes and times of the files of runs and searches."""
    digest = hashlib.sha256()
    for path in sorted(each for source in sources for each in _files(source)):
        try:
            told = path.stat()
        except OSError:  # it was there a moment ago
            continue
        digest.update(f"{path} {told.st_size} {told.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _files(source: Path) -> Iterator[Path]:
    """A file itself; of a folder those of the runs and searches in it, three folders deep."""
    if source.is_file():
        yield source
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for name in (*LOOKED_AT, "*.json") if depth == "" else LOOKED_AT:
            yield from source.glob(f"{depth}{name}")


def serve(watched: Watched, port: int) -> ThreadingHTTPServer:
    """Answer on this machine's own address until it is shut down; 0 takes any port.

    Raises UserError if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            if host not in (HOST, "localhost"):  # a page of elsewhere that calls itself this one
                return self.send_error(403)
            version, page = watched.page
            answers = {"/": ("text/html", page), "/version": ("text/plain", version.encode())}
            if self.path not in answers:
                return self.send_error(404)
            kind, body = answers[self.path]
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: Any) -> None:
            """Requests are not told."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise UserError(f"port={port} cannot be had ({error.strerror}): say another.") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def watch(
    watched: Watched, sources: Sequence[Path], port: int, tell: Callable[[str], None]
) -> None:
    """Serve the page and renew it whenever the folders grow, until Ctrl-C."""
    version = version_of(sources)
    if problem := watched.renew(version):  # what is named wrongly is not waited for
        raise UserError(problem)
    server = serve(watched, port)
    tell(f"http://{HOST}:{server.server_port} shows it until Ctrl-C.")
    shown, told = version, None
    try:
        while True:
            time.sleep(EVERY)
            version = version_of(sources)
            if version == shown and not told:
                continue
            problem = watched.renew(version)
            if problem and problem != told:
                tell(f"Not renewed: {problem}")
            shown, told = version, problem
    except KeyboardInterrupt:
        tell("Ended.")
    finally:
        server.shutdown()
        server.server_close()
