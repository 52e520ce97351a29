"""Preparing once: codes, order, hashes, faults, and two processes at the same moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.data import prepare as prepare_module
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Tables
from lightning_rec.errors import UserError


class Given:
    """A source of rows that the test states."""

    name = "given"

    def __init__(
        self,
        folder: Path,
        items: pl.DataFrame | None = None,
        raw: str = "raw",
        **columns: list[Any],
    ) -> None:
        self.path = folder / "raw.txt"
        self.path.write_text(raw)
        self.columns, self.items = columns, items
        self.reads = 0

    def files(self) -> list[Path]:
        return [self.path]

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, files: list[Path]) -> Tables:
        self.reads += 1
        types = {
            "user": pl.String,
            "item": pl.String,
            "rating": pl.Float32,
            "timestamp": pl.Int64,
            "device": pl.String,
        }
        frame = pl.LazyFrame(self.columns, schema={name: types[name] for name in self.columns})
        return Tables(frame, None if self.items is None else self.items.lazy())


def test_codes_follow_first_appearance_and_rows_keep_their_order(tmp_path: Path) -> None:
    chance = random.Random(0)
    users = [f"u{chance.randrange(5_000)}" for _ in range(200_000)]
    items = [f"i{chance.randrange(900)}" for _ in range(200_000)]
    data = prepare(
        Given(tmp_path, user=users, item=items, timestamp=list(range(200_000))), tmp_path
    )
    events = data.events.collect()
    assert events["timestamp"].to_list() == list(range(200_000))
    for column, raw, table in (("user", users, data.users), ("item", items, data.items)):
        codes = {name: code for code, name in enumerate(dict.fromkeys(raw))}
        assert events[column].to_list() == [codes[name] for name in raw]
        assert table[column].to_list() == list(codes)


def test_what_is_known_is_described(tmp_path: Path) -> None:
    items = pl.DataFrame({"title": ["Cold", "Why", "Ex"], "item": ["c", "y", "x"]})
    source = Given(
        tmp_path, items, timestamp=[5, 9], item=["x", "y"], user=["a", "a"], device=["tv", "pc"]
    )
    data = prepare(source, tmp_path)
    assert data.events.collect_schema().names() == ["user", "item", "timestamp", "device"]
    assert data.items.rows() == [("x", "Ex"), ("y", "Why"), ("c", "Cold")]
    info = data.info
    assert {key: info[key] for key in ("name", "users", "items", "events", "items_without_events", "first_timestamp", "last_timestamp")} == {
        "name": "given", "users": 1, "items": 3, "events": 2, "items_without_events": 1, "first_timestamp": 5, "last_timestamp": 9,
    }  # fmt: skip
    assert info["files"][0]["name"] == "raw.txt"
    assert len(info["files"][0]["sha256"]) == 64
    assert sorted(path.name for path in data.folder.iterdir()) == [
        "checksums.json",
        "info.json",
        "interactions.parquet",
        "items.parquet",
        "users.parquet",
    ]


def test_it_is_read_once_and_again_when_the_raw_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Given(tmp_path, user=["a"], item=["x"])
    first = prepare(source, tmp_path)
    assert prepare(source, tmp_path).folder == first.folder
    assert source.reads == 1
    source.path.write_text("changed")
    second = prepare(source, tmp_path)
    assert second.folder != first.folder
    monkeypatch.setattr(prepare_module, "PREPARED_VERSION", -1)
    assert prepare(source, tmp_path).folder not in (first.folder, second.folder)
    assert source.reads == 3


def test_the_data_hash_tells_content_and_nothing_else(tmp_path: Path) -> None:
    def hashed(raw: str, **columns: list[Any]) -> str:
        value: str = prepare(Given(tmp_path, None, raw, **columns), tmp_path).info["data_hash"]
        return value

    base = hashed("1", user=["a", "b"], item=["x", "y"], rating=[1.0, 2.0], timestamp=[1, 2])
    assert base == hashed(
        "2", timestamp=[1, 2], rating=[1.0, 2.0], item=["x", "y"], user=["a", "b"]
    )
    assert base == hashed(
        "3",
        user=["a", "b"],
        item=["x", "y"],
        rating=[1.0, 2.0],
        timestamp=[1, 2],
        device=["t", "u"],
    )
    others = [
        hashed("4", user=["a", "c"], item=["x", "y"], rating=[1.0, 2.0], timestamp=[1, 2]),
        hashed("5", user=["a", "b"], item=["x", "x"], rating=[1.0, 2.0], timestamp=[1, 2]),
        hashed("6", user=["a", "b"], item=["x", "y"], rating=[1.0, 3.0], timestamp=[1, 2]),
        hashed("7", user=["a", "b"], item=["x", "y"], rating=[1.0, 2.0], timestamp=[1, 3]),
        hashed("8", user=["a", "b"], item=["x", "y"]),
    ]
    assert len({base, *others}) == 6


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"user": [], "item": []}, "hold no interactions"),
        ({"user": ["a", None], "item": ["x", ""]}, "1 without user, 1 without item"),
        ({"user": ["a"], "item": ["x"], "timestamp": [None]}, "1 without timestamp"),
    ],
)
def test_gaps_are_refused_and_leave_nothing(
    tmp_path: Path, columns: dict[str, list[Any]], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        prepare(Given(tmp_path, **columns), tmp_path)
    assert [path.suffix for path in (tmp_path / "prepared").iterdir()] == [".lock"]


def test_items_described_twice_are_refused(tmp_path: Path) -> None:
    items = pl.DataFrame({"item": ["x", "x"], "title": ["One", "Two"]})
    with pytest.raises(UserError, match="described twice: x"):
        prepare(Given(tmp_path, items, user=["a"], item=["x"]), tmp_path)


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    source = Given(tmp_path, user=["a"], item=["x"])
    with pytest.raises(UserError, match=r"cannot be written .* LIGHTNING_REC_CACHE"):
        prepare(source, source.path)


SLOW = """
import logging, sys, time
from pathlib import Path
import polars as pl
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Tables

folder = Path(sys.argv[1])

class Slow:
    name = "slow"
    def files(self): return [folder / "raw.txt"]
    def settings(self): return {}
    def read(self, files):
        (folder / f"reading-{sys.argv[2]}").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
        return Tables(pl.LazyFrame({"user": ["a", "b"], "item": ["x", "y"]}))

print(prepare(Slow(), folder).info["prepared_at"])
"""


def start(folder: Path, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SLOW, str(folder), name]
    root = str(Path(prepare_module.__file__).parents[2])
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )


def until(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


def test_of_two_processes_one_waits_and_finds_it_done(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("raw")
    first = start(tmp_path, "1")
    until(tmp_path / "reading-1")
    second = start(tmp_path, "2")
    assert second.stderr is not None
    line = second.stderr.readline()
    assert "Another process is preparing slow-" in line
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert outputs[0] == outputs[1] != ""
    assert not (tmp_path / "reading-2").exists()


def test_a_killed_process_leaves_nothing_broken(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("raw")
    first = start(tmp_path, "1")
    until(tmp_path / "reading-1")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=60)
    left = [path.name for path in (tmp_path / "prepared").iterdir() if path.is_dir()]
    assert left, "the killed process should have been in the middle of it"
    (tmp_path / "go").touch()
    second = start(tmp_path, "2")
    assert second.communicate(timeout=60)[0]
    assert second.returncode == 0
    folders = [path for path in (tmp_path / "prepared").iterdir() if path.is_dir()]
    assert [path.name.startswith("slow-") for path in folders] == [True]
    assert json.loads((folders[0] / "info.json").read_text())["events"] == 2


@pytest.mark.parametrize(
    "name", ["interactions.parquet", "items.parquet", "info.json", "checksums.json"]
)
@pytest.mark.parametrize("harm", ["cut", "emptied", "a bit", "gone", "{}"])
def test_what_broke_in_the_cache_is_made_again(
    tmp_path: Path, name: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Given(tmp_path, user=["a", "b"], item=["x", "y"], rating=[1.0, 2.0])
    folder = prepare(source, tmp_path).folder
    path, before = folder / name, (folder / name).read_bytes()
    middle = len(before) // 2
    bit = before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :]
    after = {"cut": before[:middle], "emptied": b"", "a bit": bit, "{}": b"{}"}
    path.unlink() if harm == "gone" else path.write_bytes(after[harm])
    again = prepare(source, tmp_path)
    assert source.reads == 2
    assert again.folder == folder
    assert again.events.collect().rows() == [(0, 0, 1.0), (1, 1, 2.0)]
    if (name, harm) == ("checksums.json", "gone"):  # as of earlier versions, that were stopped
        return
    told = " is broken (" if name == "checksums.json" else f" is broken ({name} is not what was"
    assert told in caplog.text
    assert "it is made again" in caplog.text


def test_titles_and_features_have_a_hash_of_their_own(tmp_path: Path) -> None:
    def hashed(raw: str, **columns: list[Any]) -> tuple[str, str | None]:
        items = pl.DataFrame({"item": ["x", "y"], **columns})
        info = prepare(Given(tmp_path, items, raw, user=["a"], item=["x"]), tmp_path).info
        return info["data_hash"], info["catalogue_hash"]

    found = [
        hashed("1", title=["One", "Two"]),
        hashed("2", title=["One", "Three"]),
        hashed("3", title=["One", "Two"], year=[1990, 1991]),
        hashed("4", title=["One", "Two"], year=[1990.0, 1991.0]),
        hashed("5", title=["One", "Two"], tags=[["a"], ["b", "c"]]),
        hashed("6"),
    ]
    assert len({data for data, _ in found}) == 1
    assert found[2] == found[3]
    assert len({catalogue for _, catalogue in found}) == 5
    assert found[5][1] is None
