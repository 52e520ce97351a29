"""Who may ask, how much, how often; what is refused costs little, and nothing private is written."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.servers import Asking

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.serving import answering, keys
from lightning_rec.serving.keys import Keys
from lightning_rec.serving.rates import Rates
from lightning_rec.serving.settings import Settings

Served = Callable[..., Asking]
ONE, TWO, ADMIN = "1" * 32, "2" * 32, "a" * 32
ASKED = {"history": ["i03"]}


def test_a_key_is_asked_for_and_another_takes_its_place(
    sasrec: Path, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# of the shop\nshop {ONE}\nadmin {ADMIN}  # reloads\n")
    ask = served(sasrec, keys=file)
    assert ask("/recommend", ASKED).code == "no_key"
    assert ask("/recommend", ASKED, Authorization="Bearer wrong").code == "no_key"
    assert ask("/recommend", ASKED, Authorization=f"Bearer {ONE}").status == 200
    assert ask("/recommend", ASKED, X_API_Key=ONE).status == 200
    assert ask("/metrics").code == "no_key"
    assert ask("/nothing").code == "no_key"
    assert ask("/health").status == ask("/ready").status == 200
    assert ask("/admin/reload", {}, X_API_Key=ONE).code == "forbidden"
    assert ask("/admin/reload", {}, X_API_Key=ADMIN).status == 200
    monkeypatch.setattr(keys, "_EVERY", 0.0)
    file.write_text(f"shop {TWO}\n")
    assert ask("/recommend", ASKED, X_API_Key=ONE).code == "no_key"
    assert ask("/recommend", ASKED, X_API_Key=TWO).status == 200
    file.write_text("shop\n")  # broken: the keys stay
    assert ask("/recommend", ASKED, X_API_Key=TWO).status == 200


def test_an_address_is_no_key(sasrec: Path, served: Served) -> None:
    ask = served(sasrec)
    transport = httpx.ASGITransport(ask.app, client=("admin", 0))  # as a header may say it

    async def reload() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return (await client.post("/admin/reload")).status_code

    assert ask.run(reload()) == 403


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no key"), ("shop 123", "can be guessed"), ("shop", "a name, a blank and a key")],
)
def test_keys_that_are_none_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "keys").write_text(text)
    with pytest.raises(UserError, match=said):
        Keys(tmp_path / "keys")
    assert Keys(None, f"shop {ONE},till {TWO}").name_of(TWO) == "till"
    assert not Keys(None)


def test_others_may_ask_only_with_a_key(sasrec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTNING_REC_KEYS", raising=False)
    with pytest.raises(UserError, match=r"host=0\.0\.0\.0 lets others ask: say keys=FILE"):
        cli.run(["serve", f"model={sasrec}", "host=0.0.0.0"])


def test_a_page_of_elsewhere_cannot_ask_this_machine(sasrec: Path, served: Served) -> None:
    ask = served(sasrec)
    assert ask("/recommend", ASKED, Host="evil.example:8000").code == "forbidden"
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert ask("/recommend", ASKED, Host=host).status == 200
    plain = ask("/recommend", ASKED, Content_Type="text/plain")  # what needs no preflight
    assert plain.status == 400


def test_a_large_body_is_refused_before_it_is_read(sasrec: Path, served: Served) -> None:
    ask = served(sasrec, body=2048)
    read = list[str]()

    async def receive() -> dict[str, Any]:
        read.append("read")
        return {"type": "http.request", "body": b"x" * 1500, "more_body": True}

    async def asked(*headers: tuple[bytes, bytes]) -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/recommend", "query_string": b"",
                 "headers": [(b"host", b"localhost"), *headers], "client": ("127.0.0.1", 1)}  # fmt: skip
        await ask.app(scope, receive, send)
        status: int = sent[0]["status"]
        return status

    assert ask.run(asked((b"content-length", b"100000000"))) == 413
    assert ask.run(asked((b"content-length", b"1" * 5000))) == 413
    assert read == []
    assert ask.run(asked()) == 413  # in pieces: refused by the second
    assert read == ["read"] * 2


def test_more_at_once_than_allowed_are_refused_at_once_and_late_ones_told(
    sasrec: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = served(sasrec, concurrency=3, timeout=0.5)
    real = answering.recommended

    def slow(*asked: Any) -> Any:
        time.sleep(1)
        return real(*asked)

    monkeypatch.setattr(answering, "recommended", slow)

    async def together() -> list[Any]:
        return await asyncio.gather(*(ask.post("/recommend", ASKED) for _ in range(8)))

    codes = [each.code for each in ask.run(together())]
    assert sorted(codes) == ["overloaded"] * 5 + ["timeout"] * 3
    monkeypatch.setattr(answering, "recommended", real)
    time.sleep(0.7)
    assert ask("/recommend", ASKED).status == 200
    assert ask.app.running == 0


def test_a_caller_may_ask_so_often(sasrec: Path, served: Served) -> None:
    ask = served(sasrec, rate=2)
    found = [ask("/recommend", ASKED) for _ in range(6)]
    assert [each.status for each in found][:4] == [200] * 4
    assert found[-1].code == "rate_limited"
    assert int(found[-1].headers["retry-after"]) >= 1
    assert ask("/health").status == 200
    rates = Rates(1)
    assert [rates.wait("a") for _ in range(2)] == [0, 0]
    assert 0.9 < rates.wait("a") <= 1
    assert rates.wait("b") == 0
    assert Settings.of({"model": "x", "host": "0.0.0.0"}).allowed_rate == 100


@pytest.mark.parametrize(("ids", "named"), [("hash", False), ("plain", True), ("none", False)])
def test_a_request_is_a_line_and_users_are_hashed(
    sasrec: Path, served: Served, tmp_path: Path, ids: str, named: bool
) -> None:
    file = tmp_path / "logs" / "requests.jsonl"
    ask = served(sasrec, log=file, log_ids=ids, log_bytes=1024, log_files=2)
    for _ in range(12):
        ask("/recommend", {"user": "u7"})
    ask("/recommend", {"user": "u8x"})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert (lines[-1]["status"], lines[-1]["code"]) == (404, "unknown_user")
    assert ("u8x" in file.read_text()) == named
    before = file.with_name(f"{file.name}.1").read_text()  # a line may be the first of its file
    lines = [*(json.loads(line) for line in before.splitlines()), *lines]
    assert len({line.get("user") for line in lines[:-1]}) == 1
    assert ("user" in lines[0]) == (ids != "none")
    names = {each.name for each in file.parent.iterdir()}
    assert {f"{file.name}.1"} < names <= {file.name, f"{file.name}.1", f"{file.name}.2"}
    assert all(each.stat().st_size <= 1024 for each in file.parent.iterdir())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"model": "x", "prot": 1}, "prot= is no key of serve. Did you mean 'port'"),
        ({"model": "x", "port": 99999}, "port=99999: "),
        ({"model": "x", "sessions": "file:///x"}, "sessions=file:///x: "),
        ({"model": "x", "also": "y"}, "say demo=true"),
        ({"model": "x", "rate": "nan"}, "rate=nan: "),
    ],
)
def test_a_wrong_setting_is_told(said: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        Settings.of(said)
    assert told in str(error.value)


def test_what_fails_inside_is_an_error_of_the_server_without_a_traceback(
    sasrec: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = served(sasrec)

    def broken(*asked: Any) -> Any:
        raise ZeroDivisionError(f"secret of {Path.cwd()}")

    monkeypatch.setattr(answering, "recommended", broken)
    found = ask("/recommend", ASKED)
    assert (found.status, found.code) == (500, "internal")
    assert "secret" not in json.dumps(found.body)
