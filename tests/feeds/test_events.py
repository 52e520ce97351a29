"""Events from a file that is rotated, Redis Streams and Kafka: none is lost, none counts twice."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_readme import CLONE, commands, shortened

from lightning_rec import cli
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.times import is_time
from lightning_rec.errors import UserError
from lightning_rec.feeds.reading import COLUMNS, events_of, kind_of
from lightning_rec.feeds.sinks import Parts
from lightning_rec.feeds.sources import FollowedFile, Raw

NAMES = {name: name for name in COLUMNS}


def written(path: Path, numbers: range, *, end: str = "\n") -> None:
    with path.open("a") as stream:
        for n in numbers:
            event = {"user": f"u{n % 7}", "item": f"i{n}", "time": n, "key": f"k{n}"}
            event |= {"kind": "view"} | ({"price": n / 2} if n % 3 else {})
            stream.write(json.dumps(event) + (end if n == numbers[-1] else "\n"))


def kept(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(sorted(folder.glob("part-*.parquet")))


def checked(folder: Path, number: int) -> None:
    """Each event is there once, and those of a user are in their order."""
    found = kept(folder)
    items = found["item"].str.slice(1).cast(pl.Int64)
    assert sorted(items.to_list()) == list(range(number))
    for _, own in found.with_columns(n=items).group_by("user"):
        assert own["n"].is_sorted()


def test_a_file_is_read_on_where_it_was_left_also_when_rotated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, to = tmp_path / "events.jsonl", tmp_path / "events"
    words = ["events", f"from={path}", f"to={to}", "batch=30"]
    written(path, range(50))
    assert cli.run(words) == 0
    written(path, range(50, 60), end="")  # the last line is being written
    assert cli.run(words) == 0
    assert len(kept(to)) == 59
    with path.open("a") as stream:
        stream.write("\n{broken\n" + json.dumps({"user": "u1"}) + "\n")
    path.rename(tmp_path / "events.jsonl.1")
    written(path, range(55, 90))  # five of them are sent again
    capsys.readouterr()
    assert cli.run(words) == 0
    assert "31 events taken, 5 that were known, 2 lines" in capsys.readouterr().out
    (tmp_path / "events.jsonl.1").rename(tmp_path / "events.jsonl.2")
    path.rename(tmp_path / "events.jsonl.1")
    written(path, range(90, 100))
    assert cli.run(words) == 0
    assert cli.run(words) == 0  # nothing is new
    checked(to, 100)
    assert not list(to.glob("*.lock"))
    data = prepare(TableSource(str(to), user="user", item="item", time="time"), tmp_path / "cache")
    assert data.events.collect().height == 100


def test_an_event_without_a_key_is_known_by_its_place(tmp_path: Path) -> None:
    texts = ['"key": ""', '"key": " "', '"key": null', '"time": 5']  # an empty key is no key
    rows = [
        Raw(f"a-{n}", f'{{"user": 1, "item": 2, "time": 5, {text}}}'.encode())
        for n, text in enumerate(texts)
    ]
    events, bad = events_of([*rows, Raw("a-8", b'{"user": true, "item": 2, "time": 5}')], NAMES)
    assert (len({event.key for event in events}), len(bad)) == (4, 1)
    assert (
        bad[0].why == "its ids or its time are neither text nor numbers that have all their digits"
    )
    parts = Parts(tmp_path / "p")
    assert parts.take(events, {"at": 1}) == 4
    assert Parts(tmp_path / "p").take(events, {"at": 2}) == 0
    assert Parts(tmp_path / "p").position() == {"at": 1}


def test_a_file_that_is_gone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "e.jsonl"
    written(path, range(3))
    _, position = FollowedFile(path).read({}, 10, 0)
    path.unlink()
    written(path, range(5, 8))
    found, _ = FollowedFile(path).read(position, 10, 0)
    assert len(found) == 3
    assert "lines may be lost" in caplog.text


def keyless(path: Path, numbers: range) -> None:
    rows = [{"user": f"u{n}", "item": f"i{n}", "time": n} for n in numbers]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def told_by(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.run(words) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("backup", ["", ".bak"])  # as sed -i.bak leaves what was there
def test_a_copy_in_its_place_is_read_on(
    backup: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, to, copy = tmp_path / "a.jsonl", tmp_path / "to", tmp_path / "copy"
    words = ["events", f"from={path}", f"to={to}"]
    keyless(path, range(10))
    assert "10 events taken, 0 that were known" in told_by(words, capsys)
    keyless(copy, range(11))
    if backup:
        path.rename(f"{path}{backup}")
    copy.replace(path)
    assert "1 events taken, 0 that were known" in told_by(words, capsys)
    checked(to, 11)
    assert not caplog.text
    keyless(copy, range(20, 40))  # the first line is the same, but not those that were read
    copy.write_text(path.read_text().splitlines(keepends=True)[0] + copy.read_text())
    copy.replace(path)
    Path(f"{path}.bak").unlink(missing_ok=True)
    assert cli.run(words) == 0
    assert kept(to)["item"].to_list()[-20:] == [f"i{n}" for n in range(20, 40)]
    assert "was cut or changed" in caplog.text


@pytest.mark.parametrize("rotated", [False, True])
def test_a_file_that_was_cut_is_read_from_its_start(
    rotated: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, to = tmp_path / "a.jsonl", tmp_path / "to"
    words = ["events", f"from={path}", f"to={to}"]
    keyless(path, range(10))
    assert cli.run(words) == 0
    with path.open("a") as stream:
        stream.write('{"user": "u10", "item": "i10", "time": 10}\n' if rotated else "")
    if rotated:  # as copytruncate does: what was not read yet is in the copy
        shutil.copy(path, f"{path}.1")
    first = path.read_text().splitlines(keepends=True)[0]
    path.write_text(first + '{"user": "u1", "item": "new", "time": 11}\n')
    assert f"{1 + rotated} events taken, 1 that were known" in told_by(words, capsys)
    assert ("was cut" in caplog.text) is not rotated
    assert kept(to)["item"].to_list()[-1] == "new"
    path.write_text(first + "".join(f'{{"user": 1, "item": {n}, "time": 3}}\n' for n in range(9)))
    assert "9 events taken, 1 that were known" in told_by(words, capsys)  # it has grown since
    assert "was cut" in caplog.text


BAD = [
    '"user": "null"', '"user": " "', '"item": NaN', '"item": ""', '"item": 1.5e300',
    '"user": "\\ud800"', '"time": "soon"', '"time": [1]', '"time": null', '"time": NaN',
    '"time": true', '"time": "2024-13-01"', '"time": ""',
]  # fmt: skip


def test_what_training_would_refuse_is_no_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, to = tmp_path / "a.jsonl", tmp_path / "to"
    good = ['"time": 1764331201', '"time": 1764331200.5', '"user": 12.0', '"item": "007"']
    lines = [f'{{"user": 1, "item": 2, "time": 1764331200, {each}}}' for each in [*BAD, *good]]
    path.write_text("\n".join([*lines, '{"user": 1, "item": 2}', '{"item": 2, "time": 3}', ""]))
    told = told_by(["events", f"from={path}", f"to={to}"], capsys)
    assert f"4 events taken, 0 that were known, {len(BAD) + 2} lines that are no events" in told
    assert {each.name for each in tmp_path.iterdir()} == {"a.jsonl", "to", "to.refused.jsonl"}
    data = prepare(TableSource(str(to), user="user", item="item", time="time"), tmp_path / "cache")
    assert data.events.collect().height == 4
    untimed = [f"to={tmp_path / 'untimed'}", "time=null"]
    told = told_by(["events", f"from={path}", *untimed], capsys)
    assert "12 events taken, 0 that were known, 7 lines" in told


def test_what_is_no_event_is_kept_and_can_be_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path, to, aside = tmp_path / "a.jsonl", tmp_path / "to", tmp_path / "to.refused.jsonl"
    other = [f'{{"uid": "u{n}", "sku": "i{n}", "time": 1764331200}}\n' for n in range(3)]
    path.write_text("".join(other))
    told = r"no event: .*no field user, item; it has uid, sku, time.*user="
    with pytest.raises(UserError, match=told):
        cli.run(["events", f"from={path}", f"to={to}"])
    assert not aside.exists()
    path.write_text("".join([*other, '{"user": "a", "item": "b", "time": 1764331200}\n', "no\n"]))
    told = told_by(["events", f"from={path}", f"to={to}"], capsys)
    assert f"1 events taken, 0 that were known, 4 lines that are no events, kept in {aside}" in told
    assert "4 lines are no events; of the first one, it has no field user, item" in caplog.text
    told_by(["events", f"from={path}", f"to={to}"], capsys)
    assert aside.read_text() == "".join([*other, "no\n"])  # each once
    told = told_by(["events", f"from={aside}", f"to={to}", "user=uid", "item=sku"], capsys)
    assert "3 events taken" in told
    assert kept(to)["user"].to_list() == ["a", "u0", "u1", "u2"]


def test_further_fields_are_kept_as_training_reads_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, to = tmp_path / "a.jsonl", tmp_path / "to"
    said: list[dict[str, Any]] = [
        {"kind": "view", "price": 3, "new": True, "tags": ["a", 2]},
        {"kind": "purchase", "price": 2.5, "tags": []},
        {"kind": None, "tags": {"a": 1}},
    ]
    lines = [json.dumps({"user": "a", "item": n, "time": 9, **row}) for n, row in enumerate(said)]
    path.write_text("\n".join([*lines, ""]))
    words = ["events", f"from={path}", f"to={to}", "columns=kind,price,new,tags"]
    told_by(words, capsys)
    table = kept(to)
    assert table["kind"].to_list() == ["view", "purchase", None]
    assert table["price"].to_list() == ["3", "2.5", None]
    assert table["new"].to_list() == ["true", None, None]
    assert table["tags"].to_list() == ["a|2", None, '{"a": 1}']
    source = TableSource(
        str(to), user="user", item="item", time="time", keep={"kind": ["purchase"]},
        features=["price"],
    )  # fmt: skip
    events = prepare(source, tmp_path / "cache").events.collect()
    assert events["price"].to_list() == ["2.5"]  # as in a CSV
    with pytest.raises(UserError, match=r"was begun with columns=kind,price,new,tags: say so"):
        cli.run([*words[:3], "columns=kind"])
    with pytest.raises(UserError, match=r"columns=knd: no event has knd"):
        cli.run(["events", f"from={path}", f"to={tmp_path / 'other'}", "columns=knd"])
    for wrong in ("kind,kind", "user", "kind,"):
        with pytest.raises(UserError, match="is no further field"):
            cli.run([*words[:3], f"columns={wrong}"])


def test_a_folder_has_times_of_one_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    times = [1764331200, 1764331201000, "2024-12-31T10:00:00Z", "31.12.2024 10:00", 1764331202.5]
    path, to = tmp_path / "a.jsonl", tmp_path / "to"
    lines = [json.dumps({"user": "a", "item": n, "time": time}) for n, time in enumerate(times)]
    path.write_text("\n".join([*lines, ""]))
    for _ in range(2):  # the second run knows the kind from the folder
        told_by(["events", f"from={path}", f"to={to}"], capsys)
    assert kept(to)["item"].to_list() == ["0", "4"]
    assert "'1764331201000' is milliseconds, times before it are seconds" in caplog.text
    assert len((tmp_path / "to.refused.jsonl").read_text().splitlines()) == 3
    prepare(TableSource(str(to), user="user", item="item", time="time"), tmp_path / "cache")
    kinds = ["seconds", "milliseconds", "dates with '-'", "dates with '.'", "seconds"]
    assert [kind_of(str(time)) for time in times] == kinds


@pytest.mark.parametrize(
    "date", ["2024-05-31", "2024-05-31T17:00:01Z", "5/31/2024 5:00 pm", "31-May-24", "2024-W22-5"]
)
def test_dates_are_times(date: str) -> None:
    texts = pl.Series(["soon", date, None, "1764331200", "10-30-77-x"])
    assert is_time(texts).to_list() == [False, True, False, True, False]
    assert not is_time(pl.Series(["soon"])).any()


def running(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "lightning_rec", *words], env=os.environ.copy())


def until(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def killed_and_restarted(words: list[str], to: Path, write: Any, number: int) -> None:
    """Write events in steps, kill -9 at some moment of each, and finish."""
    chance, third = random.Random(3), number // 3
    for turn in range(2):
        before = len(list(to.glob("part-*.parquet")))
        for start in range(turn * third, (turn + 1) * third, 20):
            write(range(start, min(start + 20, (turn + 1) * third)))
        process = running([*words, "follow=true", "batch=20", "seconds=0.05"])
        wanted = before + 1 + chance.randrange(3)
        until(lambda: len(list(to.glob("part-*.parquet"))) >= wanted)  # noqa: B023  it is called now
        process.send_signal(signal.SIGKILL)
        process.wait()
    write(range(2 * third, number))
    assert cli.run([*words, "batch=40"]) == 0
    checked(to, number)


def test_kill_9_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    path, to, turn = tmp_path / "events.jsonl", tmp_path / "to", [0]

    def write(numbers: range) -> None:
        if not numbers:
            return
        turn[0] += 1
        if turn[0] % 4 == 0 and path.exists():
            path.rename(tmp_path / f"events.jsonl.{turn[0]}")
        written(path, numbers)

    killed_and_restarted(["events", f"from={path}", f"to={to}"], to, write, 600)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    redis = pytest.importorskip("redis")
    if not (program := shutil.which("redis-server")):
        pytest.skip("Redis is not installed: apt-get install redis-server.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(tmp_path_factory.mktemp("redis"))
    said = [program, "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", folder]
    process = subprocess.Popen(said, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False

    until(answers)
    yield client, port
    process.terminate()
    process.wait()


def test_redis_streams(redis_server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client, port = redis_server
    to = tmp_path / "to"

    def write(numbers: range) -> None:
        for n in numbers:
            event = {"user": f"u{n % 7}", "item": f"i{n}", "time": n}
            client.xadd("clicks", event if n % 2 else {"event": json.dumps(event)})

    words = ["events", f"from=redis://127.0.0.1:{port}/0/clicks", f"to={to}"]
    killed_and_restarted(words, to, write, 300)
    assert "deleted unread" not in caplog.text
    write(range(300, 320))
    client.xtrim("clicks", maxlen=5, approximate=False)
    assert cli.run(words) == 0
    assert "deleted unread" in caplog.text
    assert len(kept(to)) == 305


def test_kafka(tmp_path: Path) -> None:
    """With a broker at ``LIGHTNING_REC_KAFKA=HOST:PORT``; none comes with any package."""
    kafka = pytest.importorskip("kafka")
    broker = os.environ.get("LIGHTNING_REC_KAFKA")
    if not broker:
        pytest.skip("There is no Kafka: say LIGHTNING_REC_KAFKA=HOST:PORT.")
    topic, to = f"clicks{time.time_ns()}", tmp_path / "to"
    producer = kafka.KafkaProducer(bootstrap_servers=broker)

    def write(numbers: range) -> None:
        for n in numbers:
            event = {"user": f"u{n % 7}", "item": f"i{n}", "time": str(n)}
            producer.send(topic, json.dumps(event).encode(), key=event["user"].encode())
        producer.flush()

    write(range(10))
    killed_and_restarted(
        ["events", f"from=kafka://{broker}/{topic}", f"to={to}"], to, lambda n: write(n[10:]), 300
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["from=x.jsonl"], "where to"),
        (["from=ftp://x", "to=a"], "it is a file, redis"),
        (["from=redis://h/0", "to=a"], "name the stream too"),
        (["from=kafka://h", "to=a"], "name the topic too"),
        (["from=x", "to=http://h"], "state=FILE"),
        (["from=x", "to=a", "batch=0"], "batch= is from 1"),
        (["from=x.jsonl", "to=a"], "x.jsonl is not there; follow=true"),
        (["from=.", "to=a", "follow=true"], "is no file"),
        (["from=redis://127.0.0.1:1/0/s", "to=a"], "does not answer"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0].startswith("from=kafka"):
        pytest.importorskip("kafka")
    with pytest.raises(UserError, match=told):
        cli.run(["events", *words])
    assert not [path for path in tmp_path.rglob("*") if path.is_dir()]


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "events.jsonl", range(400))
    found = commands(CLONE / "docs" / "events.md", "follow=true")
    for words in map(shortened, found):
        assert cli.run(words[1:]) == 0, words
    assert len(found) == 3
