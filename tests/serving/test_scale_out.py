"""Two servers behind the nginx of the examples, sessions in Redis: one may die, nothing fails."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving.servers import Server

CONFIG = Path(__file__).parents[2] / "examples" / "serving" / "nginx.conf"


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """``nginx(PORT, …)``: its address, before servers at these ports."""
    if not (program := shutil.which("nginx")):
        pytest.skip("nginx is not installed: apt-get install nginx.")
    made: list[subprocess.Popen[bytes]] = []

    def make(*ports: int) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            own = free.getsockname()[1]
        text = CONFIG.read_text(encoding="utf-8")
        one = "    server server:8000 max_fails=2 fail_timeout=5s;\n"
        assert one in text
        each = "".join(one.replace("server:8000", f"127.0.0.1:{port}") for port in ports)
        text = text.replace(one, each).replace("listen 8080", f"listen 127.0.0.1:{own}")
        text = text.replace("rate=100r/s", "rate=10000r/s")  # what is asked here is more
        path = tmp_path / "nginx.conf"
        path.write_text(f"pid {tmp_path}/pid; error_log {tmp_path}/errors;\n{text}")
        words = [program, "-c", str(path), "-p", str(tmp_path), "-g", "daemon off;"]
        made.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        address = f"http://127.0.0.1:{own}"
        for _ in range(100):
            try:
                httpx.get(f"{address}/health", timeout=1)
            except httpx.TransportError:
                continue
            return address
        raise AssertionError((tmp_path / "errors").read_text())

    yield make
    for process in made:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_one_of_two_servers_dies_and_no_request_fails(
    process: Callable[..., Server], nginx: Callable[..., str], redis: str, sasrec: Path
) -> None:
    servers = [process(sasrec, f"sessions={redis}") for _ in range(2)]
    address = nginx(*(server.port for server in servers))
    taken = httpx.post(f"{address}/events", json={"user": "somebody", "items": ["i01", "i02"]})
    assert taken.json() == {"events": 2, "repeated": False, "unknown_items": 0}

    def ask(number: int) -> tuple[int | str, ...]:
        if number == 60:
            servers[0].kill()
        found = httpx.post(f"{address}/recommend", json={"user": "somebody", "k": 3}, timeout=20)
        items = [row["item"] for row in found.json().get("items", ())]
        return found.status_code, *items

    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(ask, range(300)))
    assert len(set(found)) == 1, set(found)  # from either server, before and after
    assert found[0][0] == 200
    assert len(found[0]) == 4
