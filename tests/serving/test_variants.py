"""Experiments behind HTTP: who gets which model, in the answer and the log, and what came of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving.servers import Asking, Server

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.serving.settings import Settings
from lightning_rec.trials import Assignment
from lightning_rec.trials.requests import of_experiment, read_requests, users_of_requests

Run = Callable[..., Path]
SHARES = {"a": 0.4, "b": 0.4}


@pytest.fixture(scope="module")
def gru(sequence_run: Run) -> Path:
    return sequence_run("model=gru4rec", "model.dim=8")


@pytest.fixture
def said(sasrec: Path, gru: Path) -> dict[str, Any]:
    return {"experiment": "spring", "variants": {"a": sasrec, "b": gru}, "shares": SHARES}


def users_of(run: Path) -> list[str]:
    predictor = load_run(run)
    assert isinstance(predictor, SequencePredictor)
    assert predictor.users is not None
    users: list[str] = predictor.users["user"].to_list()
    return users


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_python_command_and_server_give_a_user_one_variant(
    sasrec: Path, gru: Path, process: Callable[..., Server], tmp_path: Path
) -> None:
    """On two servers of the command line and in each of their answers."""
    made = Assignment("spring", SHARES)
    users = users_of(sasrec)[:20]
    pl.DataFrame({"user": users}).write_csv(tmp_path / "users.csv")
    words = ["experiment=spring", "shares={a: 0.4, b: 0.4}"]
    output = tmp_path / "assigned.csv"
    assert (
        cli.run(["abtest", f"assign={tmp_path / 'users.csv'}", *words, "--output", str(output)])
        == 0
    )
    by_command = dict(pl.read_csv(output).iter_rows())
    of_model = {"a": load_run(sasrec), "b": load_run(gru)}
    answers = []
    for _ in range(2):  # the second one is a restart
        server = process(None, f"variants={{a: {sasrec}, b: {gru}}}", *words)
        found = {}
        for user in users:
            answer = server("/recommend", {"user": user, "k": 3})
            assert answer.status == 200
            found[user] = answer.body.get("variant")
            own = of_model[found[user] or "a"].recommend(users=[user], k=3)["item"].to_list()
            assert [row["item"] for row in answer.body["items"]] == own
        answers.append(found)
        assert "Experiment spring: a is run (SASRec), b is run (GRU4Rec)." in server.told
        server.kill()
    expected = {user: made.of(user) for user in users}
    assert {*expected.values()} == {"a", "b", None}
    assert answers[0] == answers[1] == expected
    assert {user: name or None for user, name in by_command.items()} == expected


def test_a_unit_stands_for_a_user_who_is_asked_for_by_history(
    said: dict[str, Any], served: Callable[..., Asking]
) -> None:
    ask, made = served(None, **said), Assignment("spring", SHARES)
    for unit in ("visitor 1", 12, 12.0, "x"):
        found = ask("/recommend", {"history": ["i03", "i10"], "unit": unit, "k": 3})
        name = str(int(unit)) if isinstance(unit, float) else str(unit)
        assert found.body.get("variant") == made.of(name)
    assert "variant" not in ask("/recommend", {"history": ["i03"]}).body
    assert ask("/recommend", {"user": "u4", "unit": "u5"}).code == "invalid"
    told = ask("/version").body
    assert told["experiment"] == "spring"
    assert set(told["variants"]) == {"a", "b"}


def test_the_log_says_what_was_shown_and_clicked(
    said: dict[str, Any], served: Callable[..., Asking], tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    ask = served(None, **said, log=log, log_ids="plain")
    users = users_of(said["variants"]["a"])
    clicked = dict[str, int]()
    first = users[0]
    ask("/events", {"user": first, "items": ["i01"]})  # before anything was shown
    for user in users:
        found = ask("/recommend", {"user": user, "k": 4}).body
        items = [row["item"] for row in found["items"]]
        if "variant" in found and len(clicked) % 2 == 0:
            done = {"user": user, "items": [items[1], "elsewhere"], "value": 2.5}
            ask("/events", done, Idempotency_Key=user)
            ask("/events", done, Idempotency_Key=user)  # sent again: nothing more
        if "variant" in found:
            clicked[user] = int(len(clicked) % 2 == 0)
    written = lines(log)
    answers = [line for line in written if line["path"] == "/recommend"]
    assert {line.get("experiment") for line in answers} == {"spring", None}
    assert all(len(line["items"]) == 4 for line in answers)
    requests = read_requests([log])
    found = users_of_requests(requests, of_experiment(requests, None))
    made = Assignment("spring", SHARES)
    assert dict(found.select("user", "clicks").iter_rows()) == clicked
    assert found["variant"].to_list() == [made.of(user) for user in found["user"]]
    assert dict(found.select("user", "value").iter_rows()) == {
        u: 2.5 * c for u, c in clicked.items()
    }
    assert found["shown"].to_list() == [4] * len(found)
    assert found["events"].sum() == 2 * sum(clicked.values())
    counted = dict(found.select("user", "before").iter_rows())
    assert sum(counted.values()) == (1 if first in counted else 0)


def test_abtest_reads_the_log_of_a_server(
    said: dict[str, Any], served: Callable[..., Asking], tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    ask = served(None, **said, log=log)  # users as hashes
    users = users_of(said["variants"]["a"])
    for number, user in enumerate(users):
        found = ask("/recommend", {"user": user, "k": 4}).body
        picked = found["items"][0]["item"]
        if found.get("variant") == "b" or number % 3 == 0:
            ask("/events", {"user": user, "items": [picked]})
    to = tmp_path / "found.json"
    assert cli.run(["abtest", f"log={log}", "value=clicks", "per=lists", f"to={to}"]) == 0
    assert users[0] not in log.read_text()
    effect = json.loads(to.read_text())["effects"][0]
    assert effect["variant"] == "b"
    assert effect["difference"] > 0.3
    with pytest.raises(
        UserError, match=r"experiment=sprin is not in the log\. Did you mean 'spring'"
    ):
        cli.run(["abtest", f"log={log}", "experiment=sprin"])
    with pytest.raises(UserError, match="clics: of a request log it is one of clicks, events"):
        cli.run(["abtest", f"log={log}", "value=clics"])


def test_two_models_in_one_list(
    sasrec: Path, gru: Path, served: Callable[..., Asking], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Users click what the second one alone has high: the log says that they prefer it."""
    log = tmp_path / "requests.jsonl"
    variants = {"sasrec": sasrec, "gru": gru}
    ask = served(None, experiment="both", variants=variants, interleave=True, log=log)
    models = {name: load_run(path) for name, path in variants.items()}
    users = users_of(gru)
    for user in users:
        found = ask("/recommend", {"user": user, "k": 6}).body["items"]
        assert [row["rank"] for row in found] == list(range(1, 7))
        assert len({row["item"] for row in found}) == 6
        for name, model in models.items():
            own = [row["item"] for row in found if row["team"] == name]
            best = model.recommend(users=[user], k=6)["item"].to_list()
            assert len(own) == 3
            assert own == sorted(own, key=best.index)
        picked = [row["item"] for row in found if row["team"] == "gru"][:2]
        ask("/events", {"user": user, "items": picked})
    assert cli.run(["abtest", f"log={log}", "control=sasrec"]) == 0
    assert f"{len(users)} users prefer gru, 0 prefer sasrec" in capsys.readouterr().out


def test_a_reload_takes_all_variants_or_none(
    sasrec: Path, gru: Path, served: Callable[..., Asking], tmp_path: Path
) -> None:
    link = tmp_path / "b"
    link.symlink_to(sasrec)
    ask = served(None, experiment="x", variants={"a": sasrec, "b": link})
    before = ask("/version").body["variants"]
    assert before["a"] == before["b"]
    link.unlink()
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(UserError, match="stays as it was"):
        ask.run(ask.service.reload())
    assert ask("/version").body["variants"] == before
    link.unlink()
    link.symlink_to(gru)
    ask.run(ask.service.reload())
    assert ask("/version").body["variants"]["b"] != before["b"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"experiment": ""}, "an experiment has a name and its models"),
        ({"variants": {}}, "model|an experiment has a name"),
        ({"shares": {"a": 0.5, "c": 0.5}}, "shares= names the variants"),
        ({"shares": {"a": "x", "b": 0.5}}, "shares"),
        ({"model": "elsewhere"}, "model= and variants= are two ways"),
        ({"variants": "{a: x, b: y, c: z}", "shares": {}, "interleave": True}, "name two"),
    ],
)
def test_settings_that_do_not_go_together(
    said: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    with pytest.raises(UserError, match=told):
        Settings.of(said | change)


def test_one_variant_and_models_of_two_kinds_are_refused(
    sasrec: Path, deepfm: Path, served: Callable[..., Asking]
) -> None:
    with pytest.raises(UserError, match="two variants or more"):
        served(None, experiment="x", variants={"a": sasrec})
    with pytest.raises(UserError, match="models of one kind"):
        served(None, experiment="x", variants={"a": sasrec, "b": deepfm})


def test_a_log_without_items_users_or_variants_says_what_to_do(
    sasrec: Path, served: Callable[..., Asking], tmp_path: Path
) -> None:
    def log_of(**options: Any) -> Path:
        log = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        ask = served(sasrec, log=log, **options)
        ask("/recommend", {"history": ["i03"]})
        ask("/recommend", {"user": "u4"})
        return log

    for log, told in (
        (log_of(), "names no items: serve with log_items=true"),
        (log_of(log_items=True, log_ids="none"), "names no users"),
        (log_of(log_items=True), "has no variants: serve with experiment="),
    ):
        with pytest.raises(UserError, match=told):
            cli.run(["abtest", f"log={log}"])


def test_the_log_has_the_history_that_the_variant_knows(
    served: Callable[..., Asking], sasrec: Path, sequence_run: Run, log_frame: pl.DataFrame,
    tmp_path: Path,
) -> None:  # fmt: skip
    short = tmp_path / "short.csv"
    log_frame.group_by("uid", maintain_order=True).head(8).write_csv(short)
    younger = sequence_run("model=gru4rec", "model.dim=8", f"data.path={short}")
    log = tmp_path / "requests.jsonl"
    ask = served(None, experiment="age", variants={"a": sasrec, "b": younger}, log=log,
                 log_items=True)  # fmt: skip
    for user in [f"u{number}" for number in range(10, 30)]:
        variant = ask("/recommend", {"user": user, "k": 2}).body["variant"]
        told = lines(log)[-1]
        known = log_frame.filter(pl.col("uid") == user)["sku"].to_list()
        expected = known if variant == "a" else known[:8]
        assert (told["history"], told["length"]) == (expected[-10:], len(expected))
    assert {told["variant"] for told in lines(log)} == {"a", "b"}
