"""Small trained runs, and servers over them: within the test, or as processes of their own."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.servers import Asking, Server

from lightning_rec import cli

for _library in ("fastapi", "uvicorn", "prometheus_client", "httpx"):
    pytest.importorskip(_library)

Ask = Callable[..., Any]


def trained(folder: Path, *overrides: str) -> Path:
    quick = ["logger=none", "trainer=cpu", "trainer.max_epochs=1", "baseline=null"]
    assert cli.run(["train", *quick, *overrides, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture(scope="session")
def catalogue(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A title for each item."""
    path = tmp_path_factory.mktemp("catalogue") / "items.csv"
    items = log_frame["sku"].unique().sort()
    pl.DataFrame({"sku": items, "title": [f"Title {item}" for item in items]}).write_csv(path)
    return path


@pytest.fixture(scope="session")
def sequence_run(
    log_csv: Path, catalogue: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """``sequence_run(model, …)``: a completed run of sequences, each once."""
    made: dict[tuple[str, ...], Path] = {}
    about = ["data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    titles = [
        f"data.catalogue={catalogue}",
        "data.catalogue_item=sku",
        "data.catalogue_title=title",
    ]
    rest = ["protocol.drop_doubled=false", "batches.max_len=10"]

    def make(*overrides: str) -> Path:
        if overrides not in made:
            folder = tmp_path_factory.mktemp("served") / "run"
            made[overrides] = trained(folder, *about, *titles, *rest, *overrides)
        return made[overrides]

    return make


@pytest.fixture(scope="session")
def sasrec(sequence_run: Callable[..., Path]) -> Path:
    return sequence_run("model=sasrec", "model.dim=8")


@pytest.fixture(scope="session")
def deepfm(click_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of clicks."""
    fields = "data.fields={categorical:[uid,sku,device],numeric:[price],label:clicked}"
    about = ["data=click_table", f"data.path={click_csv}", fields, "model=deepfm", "model.dim=4"]
    return trained(tmp_path_factory.mktemp("served") / "clicks", "task=click", *about)


@pytest.fixture
def served() -> Iterator[Callable[..., Asking]]:
    """``served(FOLDER, key=value, …)``: a server within the test, without a socket."""
    runner = asyncio.Runner()
    made: list[Asking] = []

    def make(folder: Path | None, **said: Any) -> Asking:
        async def begun() -> Asking:
            return Asking(folder, **said)

        made.append(runner.run(begun()))
        made[-1].run = runner.run
        return made[-1]

    yield make
    for each in made:
        runner.run(each.close())
    runner.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """``process(FOLDER, "key=value", …)``: a server of the command line, on a free port."""
    made: list[Server] = []

    def make(folder: Path | None, *said: str, **environment: str) -> Server:
        made.append(Server(folder, *said, **environment))
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis of this test's own."""
    pytest.importorskip("redis")
    if not (program := shutil.which("redis-server")):
        pytest.skip("Redis is not installed: apt-get install redis-server.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(tmp_path_factory.mktemp("redis"))
    words = [program, "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", folder]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


Coro = Coroutine[Any, Any, Any]
