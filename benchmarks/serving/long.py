"""A million requests to one server, and the memory that it has meanwhile: long.json.

usage: python benchmarks/serving/long.py BUNDLE [requests=1000000]

16 clients of wrk ask in turn for histories of users (the most), for users by their id, for similar
items, and send events. Memory is read from /proc after each 50,000 answers.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl
from load import OURS, memory, started, used  # type: ignore[import-not-found]

from lightning_rec.runs import provenance

HERE = Path(__file__).parent
EVERY, CLIENTS = 50_000, 16
_COUNTED = re.compile(r'lightning_rec_requests_total\{path="/\w+",status="(\d+)"\} ([\d.e+]+)')


def asked(bundle: Path) -> list[tuple[str, Any]]:
    """Addresses and bodies: of each ten five histories, three users, similar items and events."""
    ids = pl.read_parquet(bundle / "items.parquet")["item"].to_list()
    users = pl.read_parquet(bundle / "users.parquet")
    users = users.sample(min(2000, len(users)), seed=1)
    made: list[tuple[str, Any]] = []
    for number, (user, codes) in enumerate(users.select("user", "items").iter_rows()):
        history = [ids[code] for code in codes[-200:]]
        kinds: list[tuple[str, Any]] = [("/recommend", {"history": history, "k": 10})] * 5
        kinds += [("/recommend", {"user": user, "k": 10})] * 3
        kinds += [("/similar", {"items": history[-1:], "k": 10})]
        kinds += [("/events", {"user": user, "items": history[:1]})]
        made.append(kinds[number % 10])
    return made


def script(of: list[tuple[str, Any]], folder: Path) -> Path:
    """What wrk sends."""
    lines = ",\n".join(f"{{'{path}', '{json.dumps(body)}'}}" for path, body in of)
    lua = folder / "asked.lua"
    lua.write_text(
        "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
        f"local asked = {{\n{lines}\n}}\nlocal number = 0\n"
        "function request()\n  number = number + 1\n  local one = asked[number % #asked + 1]\n"
        "  return wrk.format(nil, one[1], nil, one[2])\nend\n"
    )
    return lua


def counts() -> dict[str, int]:
    """How many requests were answered by each status."""
    with urllib.request.urlopen(f"http://127.0.0.1:{OURS}/metrics", timeout=60) as page:
        found = _COUNTED.findall(page.read().decode())
    made: dict[str, int] = {}
    for status, number in found:
        made[status] = made.get(status, 0) + int(float(number))
    return made


def measure(bundle: Path, requests: int) -> dict[str, Any]:
    """Everything that is written."""
    server = started(["-m", "lightning_rec", "serve", f"model={bundle}", f"port={OURS}"], OURS)
    rows: list[dict[str, float]] = [{"requests": 0, "rss_mib": round(memory(server.pid), 1)}]
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        lua = script(asked(bundle), Path(folder))
        words = ["wrk", "-t1", f"-c{CLIENTS}", "-d100000", "-s", str(lua)]
        client = subprocess.Popen([*words, f"http://127.0.0.1:{OURS}"], stdout=subprocess.DEVNULL)
        while (done := sum(counts().values())) < requests:
            if done >= rows[-1]["requests"] + EVERY:
                rows.append({"requests": done, "rss_mib": round(memory(server.pid), 1)})
                print(rows[-1], f"{done / (time.time() - began):.0f}/s", flush=True)
            time.sleep(0.5)
        seconds = time.time() - began
        client.terminate()
        client.wait()
    rows.append({"requests": done, "rss_mib": round(memory(server.pid), 1)})
    made = {
        "clients": CLIENTS,
        "requests": done,
        "statuses": counts(),
        "seconds": round(seconds),
        "per_second": round(done / seconds, 1),
        "cpu_ms": round(1000 * used(server.pid) / done, 3),
        "memory": rows,
    }
    server.terminate()
    made["status_at_the_end"] = server.wait(timeout=60)
    return made


def main() -> None:
    """Measure, print and write."""
    said = dict(word.split("=") for word in sys.argv[2:])
    card, started_at = provenance.card(), provenance.now()
    made = measure(Path(sys.argv[1]), int(said.get("requests", 1_000_000)))
    made["load_average"] = os.getloadavg()
    made |= {key: card[key] for key in ("version", "commit", "dirty", "machine", "packages")}
    made["started"] = started_at
    text = json.dumps(made, indent=2)
    print(text)
    (HERE / "long.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
