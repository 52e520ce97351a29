"""A world plays against the real server, and what the server logs is what happened."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.conftest import trained
from serving.servers import Server

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.trials.requests import of_experiment, read_requests, shown, users_of_requests

WORLD = ["seed=3", "users=150", "items=30", "new_users=4", "days=6", "dim=4", "activity=0.5"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "world"
    assert cli.run(["simulate", "world", f"to={folder}", *WORLD]) == 0
    about = ["data=table", f"data.path={folder / 'log.parquet'}", "data.user=user",
             "data.item=item", "data.time=time", "batches.max_len=10"]  # fmt: skip
    trained(folder.with_name("a"), *about, "model=popularity")
    trained(folder.with_name("b"), *about, "model=sasrec", "model.dim=8")
    return folder


def told(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_world_plays_against_a_server_of_two_variants(
    world: Path, process: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, play = tmp_path / "requests.jsonl", tmp_path / "play"
    variants = f"variants={{a: {world.with_name('a')}, b: {world.with_name('b')}}}"
    server = process(None, variants, "experiment=sim", f"log={log}", "log_ids=plain")
    said = [f"world={world}", "days=2", "k=2", "explore=epsilon:0.5", "pool=8"]
    words = ["simulate", "play", *said, f"url={server.address}"]
    assert cli.run([*words, f"to={play}"]) == 0
    truth = told(play / "truth.json")["variants"]
    assert list(truth) == ["a", "b"]
    printed = capsys.readouterr().out
    assert all(f"{row['by_request']:.4f}" in printed for row in truth.values())
    outcomes = pl.read_parquet(play / "outcomes.parquet")
    requests = read_requests([log])
    rows = shown(requests, of_experiment(requests, "sim"))
    order = rows.group_by("id", maintain_order=True).agg("user").with_row_index("_list")
    rows = rows.join(order.select("id", "_list"), "id").sort("user", "_list", "rank")
    seen = outcomes.sort("user", "day", "rank")
    columns = ["user", "variant", "rank", "item", "propensity"]
    assert rows.select(columns).equals(seen.select(columns).cast({"rank": pl.Int64}))
    assert (rows["clicked"].cast(pl.Int64) == seen["click"]).all()
    assert 0 < seen["click"].sum() == users_of_requests(requests, requests.lists)["clicks"].sum()
    assert seen["propensity"].is_between(0, 1, closed="right").all()
    assert sum(row["clicks"] for row in truth.values()) == seen["click"].sum()

    pl.read_parquet(play / "outcomes.parquet").filter(variant="b").select(
        "user", "rank", "item"
    ).unique(["user", "rank"], keep="first", maintain_order=True).write_parquet(
        tmp_path / "p.parquet"
    )
    found = list[Any]()
    whole = ["list=request", "rank=rank", "unit=user"]
    for name, more in ((log, []), (play / "outcomes.parquet", whole)):
        to = tmp_path / f"{len(found)}.json"
        one = ["offpolicy", f"log={name}", f"policy={tmp_path / 'p.parquet'}", f"to={to}", *more]
        assert cli.run(one) == 0
        found.append(told(to))
    assert found[0]["rows"] == found[1]["rows"]
    for one, other in zip(found[0]["estimates"], found[1]["estimates"], strict=True):
        assert one == pytest.approx(other)
    to = tmp_path / "value.json"
    assert (
        cli.run(
            ["simulate", "value", f"world={play}", f"policy={tmp_path / 'p.parquet'}", f"to={to}"]
        )
        == 0
    )
    assert told(to)["rows"] == found[0]["rows"]
    with pytest.raises(UserError, match=r"play exists: choose another name"):
        cli.run([*words, f"to={play}"])


def test_wrong_words_and_dead_servers_get_sentences(world: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    to = f"to={tmp_path / 'play'}"
    for words, sentence in (
        (["plai"], "Did you mean 'play'"),
        ([], "There are: world, play, value, effect"),
        (["world"], "needs to= as well"),
        (["world", to, "user=3"], "user= is no key of simulate world"),
        (["world", to, "users=some"], "users=some: .*valid integer"),
        (["play", f"world={tmp_path}", "url=x", to], r"no world\.json"),
        (["play", f"world={world}", "url=x", to], "url=x: say it as http"),
        (["play", f"world={world}", "url=http://h", to, "k=0"], "k= from 1 to 100"),
        (["play", f"world={world}", "url=http://h", to, "explore=eps"], "unknown kind"),
        (["play", f"world={world}", f"url=http://127.0.0.1:{port}", to], "does not answer .*Nothing"),
        (["value", f"world={world}", f"policy={tmp_path / 'no.csv'}"], "no.csv"),
        (["effect", "plays={a: x}"], "plays= are two"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=sentence):
            cli.run(["simulate", *words])
    assert not any(tmp_path.iterdir())
