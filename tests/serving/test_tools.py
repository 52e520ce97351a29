"""An assistant asks by the Model Context Protocol, and gets what everybody gets."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving.servers import Server

mcp = pytest.importorskip("mcp")

KEYED = {"LIGHTNING_REC_KEYS": "shop abcdefgh-abcdefgh-abcdefgh-1234"}


async def called(address: str, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    async with mcp.Client(f"{address}/mcp") as client:
        names = [each.name for each in (await client.list_tools()).tools]
        return [names, *[await client.call_tool(name, said) for name, said in calls]]


def test_tools_answer_as_the_server_does(process: Callable[..., Server], sasrec: Path) -> None:
    server = process(sasrec, "mcp=true")
    history = ["i01", "i02"]
    names, found, ranking, similar, unknown, wrong = asyncio.run(
        called(
            server.address,
            ("find_items", {"text": "title i03"}),
            ("recommend", {"history": history, "k": 3}),
            ("similar_items", {"items": ["i01"], "k": 2}),
            ("recommend", {"user": "nobody"}),
            ("recommend", {"history": history, "k": 0}),
        )
    )
    assert names == ["find_items", "recommend", "similar_items"]
    assert found.structured_content == {"items": [{"item": "i03", "title": "Title i03"}]}
    assert ranking.structured_content == server("/recommend", {"history": history, "k": 3}).body
    assert similar.structured_content == server("/similar", {"items": ["i01"], "k": 2}).body
    assert unknown.is_error
    assert "unknown_user: The model does not know this user" in unknown.content[0].text
    assert wrong.is_error
    assert "Traceback" not in wrong.content[0].text


def test_tools_pass_the_guard(process: Callable[..., Server], sasrec: Path) -> None:
    server = process(sasrec, "mcp=true", "body=2000", **KEYED)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream"}
    refused = httpx.post(f"{server.address}/mcp", json=call, headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "no_key")
    headers["Authorization"] = f"Bearer {KEYED['LIGHTNING_REC_KEYS'].split()[1]}"
    large = httpx.post(f"{server.address}/mcp", json=call | {"x": "a" * 3000}, headers=headers)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "too_large")


def test_it_is_not_there_unless_asked_for(process: Callable[..., Server], sasrec: Path) -> None:
    assert process(sasrec)("/mcp", {}).status == 404
