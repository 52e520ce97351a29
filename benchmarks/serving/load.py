"""Load on a server and on others beside it, by wrk; writes benchmarks/serving/load.json.

usage: python benchmarks/serving/load.py RUN [seconds=10] [rounds=3]

Each request is the whole history (1,000 items at most) of one of 1,000 users, so that no answer is
kept from another. Beside ``serve``: the server that one writes first (``plain.py``), and LitServe
(``lit.py``) where it is installed. All run at the same time and are asked in turn, three rounds;
the median is written, with the processor's time that a request took (``cpu_ms``). At half load 16
clients wait between two requests, so that half as many come as 64 clients got answered.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.runs import provenance

HERE = Path(__file__).parent
OURS, PLAIN, LIT = 8121, 8122, 8123
CLIENTS = (1, 16, 64)


def bodies(run: Path) -> list[str]:
    """Requests for the histories of 1,000 users."""
    ids = pl.read_parquet(run / "items.parquet").sort("code")["item"].to_list()
    users = pl.read_parquet(run / "users.parquet")
    users = users.sample(min(1000, len(users)), seed=1)
    lists = users["items"].list.tail(1000).to_list()
    return [json.dumps({"history": [ids[code] for code in each], "k": 10}) for each in lists]


def script(asked: list[str], folder: Path, wait_ms: float = 0) -> Path:
    """What wrk sends: the requests in turn, each client ``wait_ms`` after its last answer."""
    lines = ",\n".join(f"'{each}'" for each in asked)
    path = folder / f"asked_{wait_ms:.0f}.lua"
    wait = f"function delay() return math.random(0, {2 * wait_ms:.0f}) end\n" if wait_ms else ""
    path.write_text(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
        f"local asked = {{\n{lines}\n}}\nlocal number = 0\n"
        "function request()\n  number = number + 1\n"
        f"  return wrk.format(nil, nil, nil, asked[number % #asked + 1])\nend\n{wait}"
    )
    return path


def wrk(port: int, clients: int, seconds: int, lua: Path) -> dict[str, float]:
    """Requests a second, milliseconds, and how many were refused."""
    address = f"http://127.0.0.1:{port}/recommend"
    words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}", "--latency", "-s", str(lua), address]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def found(pattern: str) -> float:
        match = re.search(pattern, told)
        value, unit = (match[1], match[2]) if match else ("0", "ms")
        return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "": 1}[unit]

    return {
        "per_second": found(r"Requests/sec:\s+([\d.]+)()"),
        "p50_ms": found(r"50%\s+([\d.]+)(\w+)"),
        "p99_ms": found(r"99%\s+([\d.]+)(\w+)"),
        "requests": found(r"(\d+)() requests in"),
        "refused": found(r"Non-2xx or 3xx responses: (\d+)()"),
    }


def used(pid: int) -> float:
    """Seconds of processors that a process and those that it began have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    began = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(used(int(each)) for each in began)


def memory(pid: int) -> float:
    """MiB that a process has."""
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def ask(port: int, body: str) -> Any:
    """The items of an answer; the status where there is none."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/recommend", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as found:
            return json.load(found)["items"]
    except urllib.error.HTTPError as error:
        return error.code


def started(words: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server, as soon as it answers."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).read()
        except OSError:
            time.sleep(0.2)
        else:
            return process
    raise SystemExit(f"{words} does not answer.")


def wrong(asked: list[str], number: int) -> int:
    """Answers under 32 clients that are not those that one client gets."""
    alone = {body: ask(OURS, body) for body in asked}
    asked_for = [asked[place % len(asked)] for place in range(number)]
    with ThreadPoolExecutor(32) as clients:
        found = list(clients.map(lambda body: ask(OURS, body), asked_for))
    return sum(not _same(f, alone[body]) for f, body in zip(found, asked_for, strict=True))


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, list) and isinstance(other, list) and len(one) == len(other)):
        return False
    return all(
        a["item"] == b["item"] and abs(a["score"] - b["score"]) < 1e-5
        for a, b in zip(one, other, strict=True)
    )


def measure(run: Path, seconds: int, rounds: int) -> dict[str, Any]:
    """Everything that is written."""
    asked, made = bodies(run), dict[str, Any]()
    serve = ["-m", "lightning_rec", "serve", f"model={run}", f"port={OURS}"]
    ours = started(serve, OURS)
    plain = started([str(HERE / "plain.py"), str(run), str(PLAIN)], PLAIN)
    servers = {"ours": (OURS, ours.pid), "plain": (PLAIN, plain.pid)}
    others = [plain]
    if importlib.util.find_spec("litserve"):
        others.append(started([str(HERE / "lit.py"), str(run), str(LIT)], LIT))
        servers["litserve"] = LIT, others[-1].pid
    with tempfile.TemporaryDirectory() as folder:
        lua = script(asked, Path(folder))
        for clients in CLIENTS:
            found: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name, (port, pid) in servers.items():
                    before = used(pid)
                    row = wrk(port, clients, seconds, lua)
                    row["cpu_ms"] = 1000 * (used(pid) - before) / max(1, row["requests"])
                    found[name].append(row)
            made[f"{clients} clients"] = {name: _median(rows) for name, rows in found.items()}
        for each in others:
            each.send_signal(signal.SIGINT if each is not plain else signal.SIGKILL)
            each.wait()
        half = made["64 clients"]["ours"]["per_second"] / 2
        waits = script(asked, Path(folder), wait_ms=16 / half * 1000)
        rows = [wrk(OURS, 16, seconds, waits) for _ in range(rounds)]
        made["half load, 16 clients"] = {"ours": _median(rows)}
        idle = memory(ours.pid)
        crowd = wrk(OURS, 1280, seconds, lua)
        made["1280 clients, 128 allowed"] = {"ours": crowd}
        made["64 clients after that"] = {"ours": wrk(OURS, 64, seconds, lua)}
        users = pl.read_parquet(run / "users.parquet")["user"].head(1000)
        kept = script([json.dumps({"user": user, "k": 10}) for user in users], Path(folder))
        wrk(OURS, 16, 5, kept)
        made["64 clients, for users whose answer is kept"] = {"ours": wrk(OURS, 64, seconds, kept)}
        made["wrong answers in 10,000 by 32 clients"] = wrong(asked, 10_000)
        made["memory_mib"] = {"before": round(idle), "after": round(memory(ours.pid))}
    ours.terminate()
    return made


def _median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]}


def main() -> None:
    """Measure, print and write."""
    if not shutil.which("wrk"):
        raise SystemExit("This needs wrk: apt-get install wrk.")
    said = dict(word.split("=") for word in sys.argv[2:])
    seconds, rounds = int(said.get("seconds", 10)), int(said.get("rounds", 3))
    card, started_at = provenance.card(), provenance.now()
    made = measure(Path(sys.argv[1]), seconds, rounds)
    made["load_average"] = os.getloadavg()
    made |= {key: card[key] for key in ("version", "commit", "dirty", "machine", "packages")}
    made["started"] = started_at
    text = json.dumps(made, indent=2)
    print(text)
    (HERE / "load.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
