"""A shop's year, replayed by commands: each week its events come in, week.sh turns, the server goes on.

    python year.py LOG.csv FOLDER [weeks=52] [days=7] [kill=false]

LOG.csv has the columns user, item and time (seconds). Its last weeks= times days= days are replayed;
what is before comes in at once. Each week's events are written to FOLDER/inbox.jsonl and sent to the server
(``lightning-rec events``), some users ask it, and week.sh watches, gathers, trains, gates, exports and releases; the
server opens what was released. With kill=true each turn is killed with -9 at up to three moments drawn at random and
begun again, and so is the server, once a week. At the end it counts: every event is in the log
once, every question was answered, and the server has the model that was released last.
"""

import atexit
import csv
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ASKED = 20  # users a week


class Server:
    """``lightning-rec serve`` over the link ``current``, with sessions in Redis if told."""

    def __init__(self, folder: Path, sessions: str) -> None:
        self.folder, self.sessions = folder, sessions
        self.process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def start(self) -> None:
        """Start it, unless it runs, and wait until it is ready."""
        if self.process is not None and self.process.poll() is None:
            return
        said = ["model=current", "watch=1", "log=requests.jsonl", "log_items=true"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["lightning-rec", "serve", *said, f"port={self.port}", f"sessions={self.sessions}"],
                cwd=self.folder, stdout=log, stderr=log,
            )  # fmt: skip
        wait(lambda: self.ask("/ready") is not None, "the server")

    def kill(self) -> None:
        """End it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ask(self, path: str, body: Any = None) -> Any:
        """What it answers; None while it is away."""
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        asked.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None


def wait(until: Any, what: str, seconds: float = 120) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.1)


def turned(words: list[str], folder: Path, kill: random.Random | None, longest: float) -> float:
    """Run a command to its end, killed up to three times on the way if told; seconds it took."""
    began = time.monotonic()
    for kills in range(4):
        process = subprocess.Popen(words, cwd=folder, start_new_session=True)
        patience = None if kill is None or kills == 3 else kill.uniform(0.5, longest)
        try:
            status = process.wait(patience)
        except BaseException as stop:  # of this script, too
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(stop, subprocess.TimeoutExpired):
                raise
            print(f"  killed after {patience:.1f} s: {Path(words[0]).name}", flush=True)
            continue
        if status:
            raise SystemExit(f"{' '.join(words)} ended with {status}")
        break
    return time.monotonic() - began


def parts(rows: list[dict[str, Any]], weeks: int, days: float) -> list[list[dict[str, Any]]]:
    """The events by week, those before the first with it, each in the order of time."""
    rows.sort(key=lambda row: row["time"])
    start = rows[-1]["time"] + 1 - weeks * days * 86400
    found: list[list[dict[str, Any]]] = [[] for _ in range(weeks)]
    for row in rows:
        found[max(0, int((row["time"] - start) // (days * 86400)))].append(row)
    return found


def main(log: Path, folder: Path, weeks: int, days: float, kill: bool, sessions: str) -> None:
    """Replay the log. Ends with 1 where something is lost."""
    folder.mkdir(parents=True)
    with log.open(newline="", encoding="utf-8") as file:
        rows = [
            {"user": row["user"], "item": row["item"], "time": int(float(row["time"]))}
            for row in csv.DictReader(file)
        ]
    chance = random.Random(1) if kill else None
    server, asked, missed = Server(folder, sessions), 0, 0
    atexit.register(server.kill)
    for number, events in enumerate(parts(rows, weeks, days), 1):
        lines = "".join(
            json.dumps({**row, "key": f"{number}-{place}"}) + "\n"
            for place, row in enumerate(events)
        )
        for name in ("inbox.jsonl", "live.jsonl") if number > 1 else ("inbox.jsonl",):
            with (folder / name).open("a", encoding="utf-8") as file:
                file.write(lines)
        users = sorted({row["user"] for row in events})[:ASKED]
        if number > 1:
            if chance is not None:
                server.kill()
            server.start()
            address = f"http://127.0.0.1:{server.port}"
            sent = [
                "lightning-rec",
                "events",
                "from=live.jsonl",
                f"to={address}",
                "state=sent.json",
            ]
            turned(sent, folder, chance, 4)
            for user in users:
                answer = server.ask("/recommend", {"user": user, "k": 5})
                asked, missed = asked + 1, missed + (answer is None)
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(events[-1]["time"] + 1))
        seconds = turned([str(HERE / "week.sh"), f"w{number:02d}", until], folder, chance, 8)
        print(f"week {number}: {len(events):,} events, turned in {seconds:.0f} s", flush=True)
    server.start()
    served = (folder / "current").resolve().name
    wait(lambda: same(server, folder), f"the model of {served}")
    server.kill()
    kept = subprocess.run(
        [sys.executable, "-c", "import polars as pl, sys; t = pl.read_parquet(sys.argv[1]); "
         "print(len(t), t['key'].n_unique())", str(folder / "log" / "*.parquet")],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    print(f"{len(rows):,} events sent, {kept[0]} kept, {kept[1]} of them different")
    print(f"{asked:,} questions, {missed} without an answer; the server has {served}")
    if [int(each) for each in kept] != [len(rows)] * 2 or missed:
        raise SystemExit(1)


def same(server: Server, folder: Path) -> bool:
    """Whether the server has the model that the link leads to."""
    told = server.ask("/version")
    manifest = (folder / "current" / "bundle.json").read_bytes()
    return told is not None and told["version"] == hashlib.sha256(manifest).hexdigest()[:12]


def stopped(*_: Any) -> None:
    """End with what was begun, where this script is ended."""
    raise SystemExit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stopped)
    said = dict(each.split("=", 1) for each in sys.argv[3:])
    main(
        Path(sys.argv[1]), Path(sys.argv[2]), int(said.get("weeks", 52)),
        float(said.get("days", 7)), said.get("kill", "false") == "true",
        said.get("sessions", "memory"),
    )  # fmt: skip
