"""``report --watch``: on this machine alone, renewed as a folder grows, never broken by a run."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_rec import cli
from lightning_rec.documents import read_json, read_yaml
from lightning_rec.errors import UserError
from lightning_rec.files import write_json

pytest.importorskip("jinja2")
pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def run(log_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("watched") / "0"
    line = f"""data=table data.path={log_csv} data.user=uid data.item=sku data.time=ts trainer=cpu
        protocol.cutoffs=[10] logger=none examples=2 model=popularity run_dir={path}"""
    assert cli.run(["train", *line.split()]) == 0
    return path


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "sweep").mkdir()
    line = [sys.executable, "-m", "lightning_rec", "report", str(tmp_path / "sweep"), "--watch"]
    process = subprocess.Popen(
        [*line, "port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A shell that runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def port(watching: subprocess.Popen[str]) -> int:
    """Where it says that it is."""
    assert watching.stdout is not None
    for line in watching.stdout:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("it ended")


def get(port: int, path: str = "/", host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def until(port: int, text: str, seconds: float = 120) -> str:
    """The page as soon as it has ``text``."""
    end, page = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            page = get(port)[1]
        except OSError:
            page = ""
        if text in page:
            return page
        time.sleep(0.2)
    raise AssertionError(f"{text!r} did not come: {page[:300]}")


def test_the_page_grows_with_the_folder_and_ends_with_ctrl_c(
    run: Path, watching: subprocess.Popen[str], port: int, tmp_path: Path
) -> None:
    page = until(port, "Nothing is completed yet")
    assert "setInterval(async" in page
    version = get(port, "/version")[1]
    assert f'data-version="{version}"' in page
    sweep = tmp_path / "sweep"
    # A run that is being written: a card without figures, then a torn one.
    (sweep / "1").mkdir()
    shutil.copy(run / "config.yaml", sweep / "1")
    card = read_json(run / "run.json")
    write_json(sweep / "planned.json", {"commands": [{"command": "c", "jobs": [["seed=9"]]}]})
    write_json(sweep / "1" / "run.json", card | {"status": "running"})
    monitor = read_yaml(run / "config.yaml")["monitor"]
    figures = ("", f", {monitor} 0.2500", f", {monitor} 0.5000", f", {monitor} 0.3750", "")
    logger = "2026-11-28 03:16:57,702 INFO lightning_rec.epochs"
    lines = [
        f"{logger}: epoch {epoch} of 9, train/loss 7.1{figure}, 12.3 s\n"
        for epoch, figure in enumerate(figures, 1)
    ]
    (sweep / "1" / "train.log").write_text("".join(["something else\n", *lines]))
    page = until(port, "1 running, 1 not begun")  # from the start, with its curve
    assert '"y": [0.25, 0.5, 0.375]' in page
    assert re.search(r">5</td>\s*<td[^>]*>0\.3750</td>\s*<td[^>]*>0\.5000</td>", page)
    shutil.copytree(run, sweep / "0")
    page = until(port, "1 runs of 1 settings")
    assert get(port, "/version")[1] != version
    (sweep / "1" / "run.json").write_text('{"status": "comp')
    time.sleep(3)
    assert "1 runs of 1 settings" in get(port)[1]  # what was there stays
    shutil.rmtree(sweep / "1")
    shutil.copytree(run, sweep / "2")
    write_json(sweep / "2" / "run.json", card | {"seed": 7})
    (sweep / "2" / "checksums.json").unlink()
    until(port, "2 runs of 1 settings")
    assert get(port, "/../run.json")[0] == 404
    assert get(port, host="elsewhere.example:80")[0] == 403
    watching.send_signal(signal.SIGINT)
    out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0, out
    assert "Ended." in out
    assert "Traceback" not in out


def test_what_cannot_be_watched_is_told(run: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for more, sentence in (
            ([str(run), f"port={port}"], f"port={port} cannot be had"),
            ([str(run), "to=page.html"], "to= has no effect with --watch"),
            ([str(run), "figures=[test/ndgc@10]"], "No run has the figure"),
            ([str(run / "absent")], "no file or folder"),
        ):
            with pytest.raises(UserError, match=sentence):
                cli.run(["report", *more, "--watch"])
    with pytest.raises(UserError, match="port= has no effect without --watch"):
        cli.run(["report", str(run), "port=1"])
