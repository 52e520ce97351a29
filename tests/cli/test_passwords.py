"""A password in a tracker's address reaches the tracker, and nothing that is written or printed."""

import base64
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lightning_rec import cli
from lightning_rec.passwords import KEPT, take_passwords, whole, without_passwords
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
EXPECTED = f"Basic {base64.b64encode(b'me:hunter2').decode()}"


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The host of a tracker that refuses everything, and what it was sent as authorization."""
    heard = list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization", ""))
            self.send_error(401)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is told."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", heard
    server.shutdown()


def written(folder: Path) -> str:
    return "".join(
        path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()
    )


def test_a_password_is_sent_and_never_kept(
    small: list[str], asked: tuple[str, list[str]], refused: Refused, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("mlflow")
    host, heard = asked
    monkeypatch.setenv(KEPT, "{}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    key, shown = "logger.mlflow.tracking_uri", f"http://me:***@{host}"
    said = f"{key}=http://me:hunter2@{host}"
    train = ["train", *small, "trainer.max_epochs=1", "logger=mlflow"]
    run = tmp_path / "run"
    assert cli.run([*train, said, f"run_dir={run}"]) == 0
    assert heard.pop() == EXPECTED
    cli.run([*train, said, "-m", "seed=1", f"run_dir={tmp_path / 'sweep'}"])
    assert heard.pop() == EXPECTED
    told = capfd.readouterr()
    assert "logger=mlflow fails; the run goes on without it" in " ".join(told.err.split())
    assert "hunter2" not in told.out + told.err + written(tmp_path)
    assert f"tracking_uri: {shown}" in (run / "config.yaml").read_text()
    assert f"{key}={shown}" in (tmp_path / "sweep" / "multirun.yaml").read_text()
    assert f"{key}={shown}" in (tmp_path / "sweep" / "planned.json").read_text()
    # To go on, it is taken from the command line or the environment.
    RunFolder.open(run).note(status="interrupted")
    monkeypatch.setenv(KEPT, "{}")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # which MLflow itself sets
    heard.clear()
    for more in ([], [f"{key}={shown}"]):
        sentence = refused("train", f"resume={run}", "trainer.max_epochs=2", *more)
        assert f"{key}={shown}: no password is kept with a run" in sentence
        assert "MLFLOW_TRACKING_URI" in sentence
    assert cli.run(["train", f"resume={run}", "trainer.max_epochs=2", said]) == 0
    assert heard.pop() == EXPECTED
    monkeypatch.setenv(KEPT, "{}")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", said.partition("=")[2])
    heard.clear()
    assert cli.run(["train", f"resume={run}", "trainer.max_epochs=3"]) == 0
    assert heard.pop() == EXPECTED
    assert "hunter2" not in "".join(capfd.readouterr()) + written(tmp_path)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:pw@host:5000/a?b=c", "http://me:***@host:5000/a?b=c"),
        ("postgresql+psycopg://me:p@w:x@host/db", "postgresql+psycopg://me:***@host/db"),
        ("[http://:pw@a,http://b:pw@c]", "[http://:***@a,http://b:***@c]"),
        ("http://me@host/a:b@c", "http://me@host/a:b@c"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("data.path=a@b", "data.path=a@b"),
    ],
)
def test_what_is_a_password_is_hidden_and_found_again(
    address: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEPT, "{}")
    assert take_passwords([address]) == [shown]
    assert without_passwords(shown) == shown
    if not address.startswith("["):
        assert whole(shown, "key", "VARIABLE") == address
