"""The process: reload without a failed request, roll-back, its end, kill -9, one answer after all."""

import http.client
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.servers import Server

Process = Callable[..., Server]
ASKED = {"history": ["i03", "i10"], "k": 5}


def lead(link: Path, folder: Path) -> None:
    """Let a link lead elsewhere, without a moment in between."""
    following = link.with_name("next")
    following.symlink_to(folder)
    following.replace(link)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_another_model_is_taken_over_and_a_broken_one_is_not(
    sasrec: Path, sequence_run: Callable[..., Path], process: Process, tmp_path: Path
) -> None:
    other, broken = sequence_run("model=gru4rec", "model.dim=8"), tmp_path / "broken"
    shutil.copytree(sasrec, broken)
    weights = broken / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (broken / "checksums.json").write_text("{}\n")
    link = tmp_path / "current"
    link.symlink_to(sasrec)
    server = process(link, "watch=0.2")
    wrong, ended, asked = list[int](), threading.Event(), list[int]()

    def ask() -> None:
        while not ended.is_set():
            status = server("/recommend", ASKED).status
            asked.append(status)
            if status != 200:
                wrong.append(status)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for each in threads:
        each.start()
    first = server("/version").body
    lead(link, other)
    until(lambda: server("/version").body["version"] != first["version"])
    second = server("/version").body
    assert second["model"] == "GRU4Rec"
    lead(link, broken)
    until(lambda: server("/version").body["reload_error"] is not None)
    assert server("/version").body["version"] == second["version"]
    shutil.copy(sasrec / "weights.safetensors", weights)  # repaired where it is
    shutil.copy(sasrec / "checksums.json", broken / "checksums.json")
    until(lambda: server("/version").body["model"] == "SASRec")
    lead(link, other)
    until(lambda: server("/version").body["model"] == "GRU4Rec")
    link.unlink()
    link.symlink_to(sasrec)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server("/version").body["version"] == first["version"])
    assert server("/version").body["reload_error"] is None
    ended.set()
    for each in threads:
        each.join()
    assert len(asked) > 20
    assert wrong == []


def test_it_ends_after_its_last_answers(sasrec: Path, process: Process) -> None:
    server = process(sasrec, "timeout=20")
    waiting = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps(ASKED).encode()
    waiting.putrequest("POST", "/recommend")
    waiting.putheader("Content-Type", "application/json")
    waiting.putheader("Content-Length", str(len(body)))
    waiting.endheaders(body[:10])
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    waiting.send(body[10:])
    assert waiting.getresponse().status == 200
    assert server.process.wait(timeout=20) == 0
    with socket.socket() as tried:
        assert tried.connect_ex(("127.0.0.1", server.port))


@pytest.mark.slow
def test_killed_under_load_it_answers_the_same_after(sasrec: Path, process: Process) -> None:
    server = process(sasrec)
    before, ended = server("/recommend", ASKED), threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                server("/recommend", ASKED)
            except OSError:
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    time.sleep(0.5)
    server.kill()
    ended.set()
    for each in threads:
        each.join()
    again = process(sasrec, f"port={server.port}")
    assert again("/recommend", ASKED).body == before.body
