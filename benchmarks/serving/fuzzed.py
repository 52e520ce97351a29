"""Requests that schemathesis makes of the description of a server, for minutes: fuzzed.json.

usage: python benchmarks/serving/fuzzed.py BUNDLE... [seconds=600]

Each bundle gets its share of the time, side by side. All addresses are asked, reload too, by the
key called admin. Counted are the answers by status, as the server's own log has them; 500 is a
fault.
"""

import collections
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lightning_rec.runs import provenance

HERE, PORT, KEY = Path(__file__).parent, 8131, "k" * 32
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"


def started(said: list[str], port: int) -> subprocess.Popen[bytes]:
    """A server, as soon as it listens; it takes requests with a key alone."""
    words = [sys.executable, "-m", "lightning_rec", "serve", *said, f"port={port}"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    for _ in range(300):
        with socket.socket() as tried:
            if not tried.connect_ex(("127.0.0.1", port)):
                return process
        time.sleep(0.2)
    process.kill()
    raise SystemExit(f"{said} does not listen.")


def measure(bundle: Path, seconds: int, port: int, folder: Path) -> dict[str, Any]:
    """Ask a server over a bundle."""
    log, keys = folder / "requests.jsonl", folder / "keys"
    keys.write_text(f"admin {KEY}\n")
    said = [f"model={bundle}", f"log={log}", f"keys={keys}", "rate=0", "log_bytes=1000000000"]
    server = started(said, port)
    address = f"http://127.0.0.1:{port}/openapi.json"
    words = [sys.executable, "-m", "schemathesis.cli", "fuzz", address, "--checks", CHECKS]
    words += ["--max-time", str(seconds), "--header", f"Authorization: Bearer {KEY}"]
    words += ["--continue-on-failure", "--seed", "1"]
    began = time.time()
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=False)
    took = time.time() - began
    print(done.stdout[-3000:], done.stderr[-1000:])
    alive = server.poll() is None
    server.terminate()
    server.wait(timeout=60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    statuses = collections.Counter(str(line["status"]) for line in lines)
    addresses = collections.Counter(line["path"] for line in lines)
    found = re.search(r"(\d+) failures?", done.stdout)
    log.unlink()
    return {
        "requests": len(lines),
        "seconds": round(took),
        "statuses": dict(sorted(statuses.items())),
        "addresses": dict(sorted(addresses.items())),
        "answers_of_500": statuses["500"],
        "failed_checks": int(found[1]) if found else 0,
        "status_of_schemathesis": done.returncode,
        "alive_at_the_end": alive,
    }


def main() -> None:
    """Measure, print and write."""
    said = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
    bundles = [Path(word).resolve() for word in sys.argv[1:] if "=" not in word]
    each = int(said.get("seconds", 600)) // len(bundles)
    card, started_at = provenance.card(), provenance.now()
    made: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as both:
        waiting = {}
        for number, bundle in enumerate(bundles):
            own = Path(folder) / str(number)
            own.mkdir()
            waiting[bundle.name] = both.submit(measure, bundle, each, PORT + number, own)
        made |= {name: done.result() for name, done in waiting.items()}
    made["load_average"] = os.getloadavg()
    made |= {key: card[key] for key in ("version", "commit", "dirty", "machine", "packages")}
    made["started"] = started_at
    text = json.dumps(made, indent=2)
    print(text)
    (HERE / "fuzzed.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
