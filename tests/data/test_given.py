"""Data that came split: files keep their parts; what such a split should not be like is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.data.audit import audit
from lightning_rec.data.given import Given
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import LeakError, UserError

Events = list[tuple[str, str, int]]
Files = Callable[..., Interactions]
FILES = {"path": "train", "val": "val", "test": "test"}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """``files(train, val, test, time=…)``: each a list of (user, item, time), prepared."""

    def make(*parts: Events | None, time: bool = True, **options: Any) -> Interactions:
        names = {}
        for (key, name), events in zip(FILES.items(), parts, strict=False):
            if events is not None:
                names[key] = str(tmp_path / f"{name}.csv")
                frame = pl.DataFrame(events, schema=["user", "item", "ts"], orient="row")
                frame.write_csv(names[key])
        roles = {"user": "user", "item": "item"} | ({"time": "ts"} if time else {})
        return prepare(TableSource(**(roles | names | options)), tmp_path / "cache")

    return make


TRAIN: Events = [("a", "x", 1), ("a", "y", 2), ("b", "y", 3), ("b", "z", 4), ("c", "x", 5)]
VAL: Events = [("a", "z", 6), ("b", "x", 7)]
TEST: Events = [("b", "y", 11), ("a", "x", 9), ("a", "new", 10), ("d", "x", 10), ("d", "y", 12)]


def told(data: Interactions, split: Split) -> dict[str, list[tuple[str, str, str | None]]]:
    """Examples by stage: user, history, target."""
    users, items = data.users["user"], [data.items["item"][int(c)] for c in split.vocabulary]
    found = {}
    for stage, examples in (("val", split.val), ("test", split.test)):
        found[stage] = [
            (
                users[int(u)],
                "".join(items[i] for i in split.items[split.offsets[u] : end]),
                items[t] if t >= 0 else None,
            )
            for u, end, t in zip(examples.user, examples.end, examples.target, strict=True)
        ]
    return found


def test_parts_are_those_of_the_files_and_histories_grow_by_time(files: Files) -> None:
    data = files(TRAIN, VAL, TEST)
    split = Given(cutoffs=(1,), seen="keep").split(data)
    assert split.counts["train events"] == 5
    found = told(data, split)
    assert found["val"] == [("a", "xy", "z"), ("b", "yz", "x")]
    assert found["test"] == [
        ("a", "xyz", "x"),
        ("a", "xyzx", None),
        ("b", "yzx", "y"),
        ("d", "x", "y"),
    ]
    audit(data, split)


@pytest.mark.parametrize("time", [True, False])
def test_a_part_can_be_a_set(time: bool, files: Files) -> None:
    data = files(TRAIN, VAL, TEST, time=time)
    split = Given(cutoffs=(1,), seen="keep", successive=False if time else None).split(data)
    assert {(user, history) for user, history, _ in told(data, split)["test"]} == {
        ("a", "xyz"),
        ("b", "yzx"),
    }
    audit(data, split)


def test_one_target_of_a_part(files: Files) -> None:
    data = files(TRAIN, VAL, TEST)
    for targets, wanted in (("first", [("a", "xyz", "x"), ("b", "yzx", "y")]), ("last", [("a", "xyzx", None), ("b", "yzx", "y"), ("d", "x", "y")])):  # fmt: skip
        split = Given(cutoffs=(1,), seen="keep", targets=targets).split(data)
        assert told(data, split)["test"] == wanted


def test_a_split_written_to_files_is_the_same_split(
    interactions: Interactions, tmp_path: Path
) -> None:
    protocol = Temporal(cutoffs=(1, 5), targets="all")
    wanted = protocol.split(interactions)
    frame = interactions.events.collect()
    names = {
        key: table[key]
        for key, table in (("user", interactions.users), ("item", interactions.items))
    }
    raw = frame.select(
        pl.Series("user", names["user"].gather(frame["user"])),
        pl.Series("item", names["item"].gather(frame["item"])),
        "timestamp",
    )
    assert wanted.boundaries is not None
    windows = np.searchsorted(wanted.boundaries, raw["timestamp"].to_numpy(), side="right")
    for place, name in enumerate(("train", "val", "test")):
        raw.filter(pl.Series(windows == place)).write_csv(tmp_path / f"{name}.csv")
    paths = {
        key: str(tmp_path / f"{name}.csv")
        for key, name in (("path", "train"), ("val", "val"), ("test", "test"))
    }
    source = TableSource(user="user", item="item", time="timestamp", **paths)
    data = prepare(source, tmp_path / "cache")
    split = Given(cutoffs=(1, 5)).split(data)
    audit(data, split)
    for stage, examples in told(interactions, wanted).items():
        known = {user for user, _, _ in examples}
        assert [e for e in sorted(told(data, split)[stage], key=str) if e[0] in known] == sorted(
            examples, key=str
        )


def test_the_files_and_which_is_which_are_in_the_hash(files: Files) -> None:
    data = files(TRAIN, VAL, TEST)
    swapped = files(TRAIN, TEST, VAL)
    assert data.info["data_hash"] != swapped.info["data_hash"]
    assert Given().hash() != Given(successive=True).hash() != Given(targets="last").hash()


def test_a_leak_in_the_files_is_told(files: Files) -> None:
    both = [("a", "x", 1), ("a", "y", 2)]
    split = Given(cutoffs=(1,)).split(files(TRAIN, VAL, [*TEST, *both]))
    assert "2 of 7 test events are in train too, alike in user, item and time." in split.notes
    assert any(n.startswith("1 of 7 test events lie before some that their") for n in split.notes)
    untimed = Given(cutoffs=(1,)).split(files(TRAIN, VAL, TEST, time=False))
    assert "2 of 5 test events are in train too, alike in user and item." in untimed.notes
    clean = Given(cutoffs=(1,)).split(files(TRAIN, VAL, TEST))
    assert not any("too, alike" in note or "lie before" in note for note in clean.notes)


def test_the_audit_reads_the_parts_itself(files: Files) -> None:
    data = files(TRAIN, VAL, TEST)
    split = Given(cutoffs=(1,)).split(data)
    swapped = replace(split, val=split.test, test=split.val)
    with pytest.raises(LeakError, match="an event is not in the part it came in"):
        audit(data, swapped)
    longer = split.val._replace(end=split.val.end + 1)
    with pytest.raises(LeakError, match="a val history holds its own target or a later event"):
        audit(data, replace(split, val=longer))


def test_parts_and_protocols_that_do_not_fit_are_refused(files: Files) -> None:
    data = files(TRAIN, VAL, TEST)
    for protocol in (LeaveOneOut(cutoffs=(1,)), Temporal(cutoffs=(1,)), Sessions(cutoffs=(1,))):
        with pytest.raises(UserError, match=r"would mix the parts .* say protocol=given, or drop"):
            protocol.split(data)
    with pytest.raises(UserError, match=r"came without a split.*data\.test=FILE"):
        Given(cutoffs=(1,)).split(files(TRAIN))
    with pytest.raises(UserError, match=r"data\.val=v needs data\.test=FILE"):
        TableSource("t", user="u", item="i", val="v")
    without = files(TRAIN, None, TEST)
    with pytest.raises(UserError, match=r"data\.val=FILE, or go without, protocol\.val_users=0"):
        Given(cutoffs=(1,)).split(without)
    assert Given(cutoffs=(1,), seen="keep", val_users=0).split(without).test.size == 4


def test_sessions_can_come_split(files: Files) -> None:
    train = [(f"{s}", i, t) for s, items in enumerate(("xyz", "yz")) for t, i in enumerate(items)]
    val = [("v", "z", 1), ("v", "x", 2)]
    test = [("t", "x", 1), ("t", "y", 2), ("t", "w", 3), ("t", "z", 4)]
    data = files(train, val, test, user=None, session="user")
    split = Sessions(cutoffs=(1,), val_from=None, test_from=None).split(data)
    assert told(data, split) == {
        "val": [("v", "z", "x")],
        "test": [("t", "x", "y"), ("t", "xy", "z")],
    }
    audit(data, split)
    torn = files([*train, ("t", "x", 0)], val, test, user=None, session="user")
    with pytest.raises(UserError, match="1 sessions have events in two of the files"):
        Sessions(cutoffs=(1,), val_from=None, test_from=None).split(torn)
    with pytest.raises(UserError, match="both are null"):
        Sessions(val_from=None)


def test_ids_of_another_kind_in_a_held_out_file_are_told_by_column(files: Files) -> None:
    def notes(test: Events) -> str:
        return " ".join(Given(cutoffs=(1,), seen="keep").split(files(TRAIN, VAL, test)).notes)

    same: Events = [("b", "y", 11), ("a", "x", 9), ("a", "z", 12)]
    assert "training does not know" not in notes(same)
    told = notes([("b", "y", 11), ("a", "x", 9), ("a", "item-z", 12)])
    assert "In 1 of 3 test events the item is one that training does not know" in told
    assert "data.item" in told
    assert "data.user" not in told
    told = notes([*same, ("user-b", "x", 12), ("user-b", "y", 13)])
    assert "In 2 of 5 test events the user is one that training does not know" in told
    assert "data.user" in told


def test_it_is_trained_from_the_command_line(files: Files, tmp_path: Path) -> None:
    files(TRAIN, VAL, TEST)
    paths = [
        f"data.{key}={tmp_path / name}.csv"
        for key, name in (("path", "train"), ("val", "val"), ("test", "test"))
    ]
    run = [
        "train", "data=table", *paths, "data.user=user", "data.item=item", "data.time=ts", "protocol=given", "protocol.seen=keep", "model=sasrec",
        "model.dim=8", "model.heads=2", "protocol.cutoffs=[1]", "monitor=val/ndcg@1", "trainer=cpu", "trainer.max_epochs=1", "logger=none",
        f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert cli.run(run) == 0
    assert len(pl.read_parquet(tmp_path / "run" / "test_users.parquet")) == 4
