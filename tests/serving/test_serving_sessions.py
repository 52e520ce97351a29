"""An event changes the next answer at once; sessions are bounded, and kept by memory or by Redis."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving.servers import Asking

from lightning_rec.build import load_run
from lightning_rec.serving.cache import Cache
from lightning_rec.serving.errors import Refusal
from lightning_rec.serving.events import Event
from lightning_rec.serving.sessions import MemorySessions, RedisSessions, Sessions

Served = Callable[..., Asking]


@pytest.fixture(params=["memory", "redis"])
def address(request: pytest.FixtureRequest) -> str:
    """Where sessions are kept."""
    if request.param == "memory":
        return "memory"
    found: str = request.getfixturevalue("redis")
    return found


def sessions_of(address: str, seconds: float = 3600) -> Sessions:
    if address == "memory":
        return MemorySessions(3, 4, seconds)
    return RedisSessions(address, 4, seconds)


def events(*items: str) -> list[Event]:
    return [Event(item) for item in items]


def test_a_session_keeps_what_is_said_of_events(address: str) -> None:
    async def tried() -> None:
        kept = sessions_of(address)
        said = [Event("a", 1.5, (("rating", 4), ("word", "é|\n"))), Event("b", -3.0)]
        assert await kept.append("says", said, "s1") == (2, False)
        assert await kept.read("says") == tuple(said)
        assert await kept.append("says", said, "s1") == (2, True)
        for other in (said[0]._replace(time=2.5), said[0]._replace(said=())):
            with pytest.raises(Refusal, match="another event"):
                await kept.append("says", [other, said[1]], "s1")
        await kept.close()

    asyncio.run(tried())


def test_a_session_holds_the_latest_and_an_event_counts_once(address: str) -> None:
    async def tried() -> None:
        kept = sessions_of(address)
        assert await kept.read("one") == ()
        assert await kept.append("one", events("a", "b"), "k1") == (2, False)
        before = await kept.read("one")
        assert await kept.append("one", events("a", "b"), "k1") == (2, True)
        assert await kept.read("one") == before
        with pytest.raises(Refusal, match="another event"):
            await kept.append("one", events("a"), "k1")
        with pytest.raises(Refusal, match="another event"):
            await kept.append("two", events("a", "b"), "k1")
        assert await kept.append("one", events("c", "a", "d"), None) == (4, False)
        assert [each.item for each in before] == ["a", "b"]
        whole = await kept.read("one")
        assert [each.item for each in whole] == ["b", "c", "a", "d"]
        assert all(each.time is not None and time.time() - each.time < 60 for each in whole)
        assert await kept.read("two") == ()
        await kept.close()

    asyncio.run(tried())


def test_a_session_ends(address: str) -> None:
    async def tried() -> None:
        kept = sessions_of(address, 1)
        await kept.append("brief", events("a"), "k-brief")
        await asyncio.sleep(1.2)
        assert await kept.read("brief") == ()
        assert await kept.append("brief", events("b"), "k-brief") == (1, False)
        await kept.close()

    asyncio.run(tried())


def test_memory_forgets_who_was_silent_longest() -> None:
    async def tried() -> None:
        kept = MemorySessions(3, 4, 3600)
        for user in "abcadef":
            await kept.append(user, events("x"), f"k{user}{len(kept)}")
        assert [user for user in "abcdef" if await kept.read(user)] == ["d", "e", "f"]
        assert len(kept._keys) == 3

    asyncio.run(tried())


def test_an_event_changes_the_next_answer(sasrec: Path, served: Served, address: str) -> None:
    ask, predictor = served(sasrec, sessions=address), load_run(sasrec)
    before = ask("/recommend", {"user": "u7", "k": 5}).body
    assert ask("/recommend", {"user": "u7", "k": 5}).body == before  # by the cache
    taken = ask("/events", {"user": "u7", "items": ["i05", "none", 7]}).body
    assert taken == {"events": 3, "repeated": False, "unknown_items": 2}
    after = ask("/recommend", {"user": "u7", "k": 5}).body
    known = predictor.users.filter(user="u7")["items"][0]  # type: ignore[attr-defined]
    items = [*(predictor.catalogue.items["item"][code] for code in known), "i05"]
    assert after["items"] == predictor.recommend([items], k=5).drop("row").to_dicts()
    assert after["items"] != before["items"]
    assert after["unknown_items"] == 2
    page = ask("/metrics").body
    assert 'lightning_rec_cache_total{found="yes"} 1.0' in page
    assert 'lightning_rec_cache_total{found="no"} 2.0' in page


def test_what_the_log_has_counts_once_in_whatever_order_it_came(
    sasrec: Path, served: Served, address: str
) -> None:
    ask, predictor = served(sasrec, sessions=address), load_run(sasrec)
    known = predictor.users.filter(user="u7")["items"][0]  # type: ignore[attr-defined]
    had = [predictor.catalogue.items["item"][code] for code in known]
    late = [{"item": had[-1], "time": 20}, {"item": had[-2], "time": 10}]
    ask("/events", {"user": "u7", "items": [*late, {"item": "i05", "time": 30}]})
    found = ask("/recommend", {"user": "u7", "k": 5}).body["items"]
    assert found == predictor.recommend([[*had, "i05"]], k=5).drop("row").to_dicts()


def test_an_unknown_item_does_not_make_somebody_new(
    sequence_run: Callable[..., Path], served: Served
) -> None:
    folder = sequence_run("model=caser", "model.dim=8", "optimizer.lr=0.1")
    ask, predictor = served(folder), load_run(folder)
    assert ask("/events", {"user": "u7", "items": ["nothing"]}).body["unknown_items"] == 1
    found = ask("/recommend", {"user": "u7", "k": 5}).body["items"]
    assert found == predictor.recommend(users=["u7"], k=5).drop("user").to_dicts()


def test_somebody_new_is_known_by_his_events(sasrec: Path, served: Served, address: str) -> None:
    ask = served(sasrec, sessions=address)
    assert ask("/recommend", {"user": "stranger"}).code == "unknown_user"
    sent = {"user": "stranger", "items": ["i03", "i10"]}
    assert ask("/events", sent, Idempotency_Key="e1").body["repeated"] is False
    again = ask("/events", sent, Idempotency_Key="e1").body
    assert again == {"events": 2, "repeated": True, "unknown_items": 0}
    assert ask("/events", {**sent, "items": ["i03"]}, Idempotency_Key="e1").code == "conflict"
    found = ask("/recommend", {"user": "stranger"}).body["items"]
    assert found == ask("/recommend", {"history": ["i03", "i10"]}).body["items"]


def test_without_redis_the_server_says_so_and_answers_what_needs_none(
    sasrec: Path, served: Served
) -> None:
    pytest.importorskip("redis")
    ask = served(sasrec, sessions="redis://127.0.0.1:1/0")
    assert ask("/ready").code == "no_sessions"
    assert ask("/events", {"user": "u7", "items": ["i05"]}).code == "no_sessions"
    assert ask("/recommend", {"user": "u7"}).code == "no_sessions"
    assert ask("/recommend", {"history": ["i05"]}).status == 200


def test_a_redis_that_lost_its_sessions_gives_no_answer_of_before(
    sasrec: Path, served: Served, redis: str
) -> None:
    """Restarted without a file, or full: what it counts begins anew, and so do sessions."""
    from redis import Redis

    ask = served(sasrec, sessions=redis)
    for item in ("i03", "i10"):
        ask("/events", {"user": "lost", "items": [item]})
        found = ask("/recommend", {"user": "lost"}).body["items"]
        assert found == ask("/recommend", {"history": [item]}).body["items"]
        with Redis.from_url(redis) as kept:
            kept.flushall()


def test_answers_are_kept_for_a_while_and_the_least_used_goes() -> None:
    cache = Cache(2, 0.05)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    time.sleep(0.06)
    assert cache.get("a") is None
    off = Cache(0, 1)
    off.put("a", 1)
    assert len(off) == 0


def test_what_a_newer_log_has_counts_once(sasrec: Path, served: Served) -> None:
    predictor: Any = load_run(sasrec)
    items = predictor.catalogue.items["item"].to_list()
    log = [items[code] for code in predictor.history_of("u7")]
    other = next(item for item in items if item not in log[-4:])
    for session, new in {
        (*log[-3:],): [],
        (*log[-2:], other): [other],
        (other, *log[-2:]): [other, *log[-2:]],
    }.items():
        ask = served(sasrec)
        ask("/events", {"user": "u7", "items": list(session)})
        found = ask("/recommend", {"user": "u7", "k": 5}).body["items"]
        assert found == predictor.recommend([[*log, *new]], k=5).drop("row").to_dicts()
