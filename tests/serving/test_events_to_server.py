"""Events of a file, sent to a server by a process that is killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from serving.servers import Server

from lightning_rec import cli


def test_each_event_reaches_the_server_once_and_in_order(
    process: Callable[..., Server], sasrec: Path, tmp_path: Path
) -> None:
    log, path, state = (tmp_path / name for name in ("log.jsonl", "events.jsonl", "sent.json"))
    server = process(sasrec, f"log={log}", "log_items=true", "log_ids=plain")
    events = [{"user": f"u{n % 3}", "item": f"i{n}", "key": f"k{n}"} for n in range(200)]
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    words = ["events", f"from={path}", f"to={server.address}", f"state={state}", "batch=50"]
    sender = subprocess.Popen([sys.executable, "-m", "lightning_rec", *words])
    end = time.monotonic() + 120
    while not log.is_file() or log.read_text().count("\n") < 70:
        assert time.monotonic() < end
        time.sleep(0.005)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    assert cli.run(words) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    taken = [(line["user"], line["items"][0]) for line in lines if "items" in line]
    assert taken == [(each["user"], each["item"]) for each in events]
    sent = len(lines)
    assert cli.run(words) == 0
    assert len(log.read_text().splitlines()) == sent


def test_what_a_server_refuses_is_kept_aside(
    process: Callable[..., Server], sasrec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, path, state = (tmp_path / name for name in ("log.jsonl", "events.jsonl", "sent.json"))
    server = process(sasrec, f"log={log}", "log_items=true", "log_ids=plain")
    events = [
        {"uid": "u1", "item": "i1", "kind": ["buy", "gift"]},
        {"uid": "u2", "item": "i" * 100_000, "kind": "view"},
        {"uid": "u3", "item": "i3", "kind": {"a": 1}},
    ]
    path.write_text("".join(json.dumps(each) + "\n" for each in events))
    words = ["events", f"from={path}", f"to={server.address}", f"state={state}", "user=uid"]
    capsys.readouterr()
    assert cli.run([*words, "columns=kind"]) == 0
    told = capsys.readouterr().out
    assert "2 events taken, 0 that were known, 1 lines" in told
    kept = [json.loads(line) for line in (tmp_path / "sent.json.refused.jsonl").open()]
    assert kept == events[1:2]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["user"] for line in lines if "items" in line] == ["u1", "u3"]
