"""What a model reads of events beside their items: over HTTP the answer is that of Python."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.conftest import trained
from serving.servers import Asking

from lightning_rec import load_run

Served = Callable[..., Asking]
MODELS = {
    "times": ["model=tisasrec", "model.dim=8", "optimizer.lr=0.05"],
    "columns": ["model=sasrec", "model.dim=8", "task.events=[rating,gap,hour]"],
    "both": ["model=tisasrec", "model.dim=8", "task.events=[rating,weekday]"],
}


def about(log: Path) -> list[str]:
    columns = ["data.user=uid", "data.item=sku", "data.time=ts", "data.rating=stars"]
    return ["data=table", f"data.path={log}", *columns, "batches.max_len=10"]


@pytest.fixture(scope="module", params=MODELS)
def folder(
    request: pytest.FixtureRequest, log_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    return trained(path / "run", *about(log_csv), *MODELS[request.param])


def asked(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.drop("user").to_dicts()


def answer(model: Any, frame: pl.DataFrame, **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model.recommend(frame, k=5, **more).drop("user").to_dicts()
    return found


@pytest.fixture
def events(log_frame: pl.DataFrame) -> pl.DataFrame:
    names = {"uid": "user", "sku": "item", "ts": "time", "stars": "rating"}
    return log_frame.rename(names).filter(user="u4").sort("time", maintain_order=True)


def test_users_and_histories_have_their_times_and_columns(
    folder: Path, served: Served, events: pl.DataFrame
) -> None:
    ask, model = served(folder), load_run(folder)
    known = ask("/recommend", {"user": "u4", "k": 5})
    assert known.body["items"] == model.recommend(users=["u4"], k=5).drop("user").to_dicts()
    assert "note" not in known.body
    said = ask("/recommend", {"history": asked(events), "k": 5})
    assert said.body["items"] == answer(model, events)
    assert "note" not in said.body
    dated = events.with_columns(time=pl.from_epoch("time").dt.to_string("%Y-%m-%d %H:%M:%S"))
    turned = dated.reverse().sort("time", descending=True, maintain_order=True).reverse()
    assert ask("/recommend", {"history": asked(turned), "k": 5}).body["items"] == answer(
        model, events
    )
    rules = {"boosts": [{"item": "i03", "factor": 1.0}]}
    ruled = ask("/recommend", {"history": asked(events), "k": 5, "rules": rules}).body
    assert [row["item"] for row in ruled["items"]] == [row["item"] for row in said.body["items"]]
    plain = ask("/recommend", {"history": events["item"].to_list(), "k": 5}).body
    assert "of each event, which is not said" in plain["note"]
    assert plain["items"] != said.body["items"]


@pytest.mark.parametrize("user", ["u4", "new"])
def test_a_session_goes_on_from_the_log(
    folder: Path, served: Served, events: pl.DataFrame, user: str
) -> None:
    ask, model = served(folder), load_run(folder)
    more = pl.DataFrame(
        {
            "user": ["u4"] * 2,
            "item": ["i31", "i07"],
            "time": [events["time"][-1] + 50, events["time"][-1] + 7_200],
            "rating": [5, 1],
        }
    )
    for row in reversed(asked(more)):  # the later one comes first
        done = ask("/events", {"user": user, "items": [row]})
        assert done.status == 200, done.body
    found = ask("/recommend", {"user": user, "k": 5}).body
    whole = pl.concat([events.select(more.columns), more]) if user == "u4" else more
    assert found["items"] == answer(model, whole)
    assert "note" not in found
    if folder.parent.name.startswith("times"):
        return
    other = {"u4": "u7", "new": "newer"}[user]  # whose event says its item alone
    ask("/events", {"user": other, "items": ["i05"]})
    assert "reads rating of each event" in ask("/recommend", {"user": other, "k": 5}).body["note"]


def test_histories_of_several_kinds_are_computed_apart(
    folder: Path, served: Served, events: pl.DataFrame
) -> None:
    ask = served(folder)
    questions: list[dict[str, Any]] = [
        {"history": asked(events), "k": 5},
        {"history": events["item"].to_list(), "k": 5},
        {"user": "u7", "k": 5},
        {"history": asked(events.drop("rating")), "k": 5},
    ]
    alone = [ask("/recommend", question).body["items"] for question in questions]

    async def at_once() -> Any:
        return await asyncio.gather(*(ask.post("/recommend", each) for each in questions))

    together = ask.run(at_once())
    for one, other in zip(alone, together, strict=True):
        assert [row["item"] for row in one] == [row["item"] for row in other.body["items"]]


def test_a_session_leaves_what_is_known_about_a_user(
    log_csv: Path, served: Served, events: pl.DataFrame, tmp_path: Path
) -> None:
    users = pl.DataFrame({"user": [f"u{i}" for i in range(60)], "sort": [i % 3 for i in range(60)]})
    users.write_csv(tmp_path / "users.csv")
    reads = [f"data.users={tmp_path / 'users.csv'}", "task.users=[sort]", "model=sasrec"]
    ask = served(trained(tmp_path / "run", *about(log_csv), *reads, "optimizer.lr=0.05"))
    for user in ("u4", "new"):
        items = events["item"].to_list() if user == "new" else []
        assert ask("/events", {"user": user, "items": [*items, "i31"]}).status == 200
    known, new = (ask("/recommend", {"user": user, "k": 5}).body for user in ("u4", "new"))
    assert known["items"] != new["items"]


@pytest.mark.parametrize(
    ("item", "code", "words"),
    [
        ({"item": "i05", "time": "soon"}, "refused", "'soon' is no time"),
        ({"time": 5}, "invalid", "item"),
        ({"item": "i05", "rating": [5]}, "invalid", "rating"),
        ({"item": "i05", "time": True}, "invalid", "time"),
    ],
)
def test_what_cannot_be_read_of_an_event_is_told(
    sasrec: Path, served: Served, item: dict[str, Any], code: str, words: str
) -> None:
    ask = served(sasrec)
    for path, body in (
        ("/recommend", {"history": [item], "k": 3}),
        ("/events", {"user": "u1", "items": [item]}),
    ):
        found = ask(path, body)
        assert found.code == code, found.body
        assert words in found.body["error"]["message"]
    some = [{"item": "i05", "time": 5}, "i06"]
    assert "empty in row 1" in ask("/recommend", {"history": some}).body["error"]["message"]
    odd = {"color": "red", "history": "x", "user": 3, "code": 1, "row": None}
    fine = ask("/recommend", {"history": [{"item": "i05"} | odd], "k": 3}).body
    assert fine["items"] == ask("/recommend", {"history": ["i05"], "k": 3}).body["items"]
