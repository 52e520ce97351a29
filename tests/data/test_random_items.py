"""Items dealt at random, against an oracle in plain Python; the order of the rows plays no part."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli, config
from lightning_rec.build import problem_of
from lightning_rec.data.audit import audit
from lightning_rec.data.pipeline import load
from lightning_rec.data.random_items import RandomItems
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.data.splits import LeaveOneOut
from lightning_rec.errors import LeakError, UserError

Prepare = Callable[..., Interactions]
Parts = dict[str, tuple[set[str], set[str], set[str]]]


def weighted_log(seed: int = 0) -> dict[str, list[Any]]:
    """Users u0 to u11 with as many items of 30 as their number, some of them twice; no times."""
    chance = random.Random(seed)
    rows = []
    for user in range(12):
        items = chance.sample(range(30), user)
        rows += [(f"u{user}", f"i{item}") for item in items + items[: user // 3]]
    chance.shuffle(rows)
    return {"user": [user for user, _ in rows], "item": [item for _, item in rows]}


def splitmix(seed: int, place: int) -> int:
    word = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def oracle(log: dict[str, list[Any]], val: float, test: float, seed: int) -> Parts:
    """RecBole's rule of ratios over a random order, user by user."""
    users, items = sorted(set(log["user"])), sorted(set(log["item"]))
    parts: Parts = {}
    for user in users:
        own = {i for u, i in zip(log["user"], log["item"], strict=True) if u == user}
        stream = splitmix(seed, users.index(user))
        order = sorted(own, key=lambda item: splitmix(stream, items.index(item)))
        number = len(order)
        held = [int(val * number + 1e-9), int(test * number + 1e-9)]
        train = number - sum(held)
        for place, share in ((1, test), (0, val)):
            if train <= 1:
                break
            if 0 < share * number < 1:
                held[place], train = held[place] + 1, train - 1
        parts[user] = (
            set(order[:train]),
            set(order[train : train + held[0]]),
            set(order[train + held[0] :]),
        )
    return parts


def told(data: Interactions, split: Split) -> Parts:
    """Items that train, validate and are tested, by user; histories are checked on the way."""
    users, items = data.users["user"], data.items["item"]
    parts: Parts = {user: (set(), set(), set()) for user in users}

    def names(start: int, end: int) -> set[str]:
        return {items[int(split.vocabulary[code])] for code in split.items[start:end]}

    for code, user in enumerate(users):
        parts[user][0].update(names(split.offsets[code], split.train_end[code]))
    table = data.events.collect()
    for place, examples in ((1, split.val), (2, split.test)):
        for example in range(examples.size):
            code, row = int(examples.user[example]), int(examples.row[example])
            assert table["user"][row] == code
            parts[users[code]][place].add(items[int(table["item"][row])])
    for place, examples in ((1, split.val), (2, split.test)):
        for example in range(examples.size):
            code = int(examples.user[example])
            read = names(split.offsets[code], int(examples.end[example]))
            known = {items[int(code)] for code in split.vocabulary}
            assert read == set().union(*parts[users[code]][:place]) & known
    return parts


@pytest.mark.parametrize(
    ("val", "test", "seed"), [(0.1, 0.1, 0), (0.2, 0.3, 5), (0.0, 0.25, 1), (0.29, 0.5, 2)]
)
def test_it_is_the_split_of_the_oracle(
    val: float, test: float, seed: int, prepared: Prepare
) -> None:
    log = weighted_log(seed)
    data = prepared(**log)
    split = RandomItems(val=val, test=test, seed=seed, cutoffs=(1,)).split(data)
    assert told(data, split) == oracle(log, val, test, seed)
    assert len(split.test.row) == len(np.unique(split.test.row))
    audit(data, split)


@pytest.mark.parametrize("timed", [False, True])
def test_the_order_of_the_rows_plays_no_part(timed: bool, tmp_path: Path) -> None:
    log = weighted_log()
    frame = pl.DataFrame(log).with_columns(stars=pl.int_range(pl.len()) % 5)
    if timed:
        frame = frame.with_columns(ts=1_600_000_000 + pl.int_range(pl.len()) // 40)
    columns = {"user": "user", "item": "item", "rating": "stars", "time": "ts" if timed else None}
    catalogue = pl.DataFrame({"item": ["i40", *set(log["item"]), "i35"]})
    catalogue.with_columns(title=pl.format("The {}", "item")).write_csv(tmp_path / "items.csv")
    about = {"catalogue": str(tmp_path / "items.csv"), "catalogue_title": "title"}
    wanted, splits, hashes = None, [], set()
    for seed in range(3):
        path = tmp_path / f"log{seed}.csv"
        frame.sample(fraction=1, shuffle=True, seed=seed).write_csv(path)
        source = TableSource(str(path), **columns, **about)
        loaded = load(source, RandomItems(cutoffs=(1,)), tmp_path / "cache")
        found = told(loaded.data.log, loaded.data.split)
        assert found == (wanted or found)
        assert loaded.data.log.items["item"].to_list()[-2:] == ["i35", "i40"]
        wanted, info = found, loaded.data.log.info
        splits.append(loaded.data.split)
        hashes.add((info["data_hash"], info["catalogue_hash"]))
    assert len(hashes) == 1
    for name in ("items", "offsets", "vocabulary"):
        assert np.array_equal(getattr(splits[0], name), getattr(splits[1], name))
    for name in ("user", "end", "target"):
        assert np.array_equal(getattr(splits[0].test, name), getattr(splits[1].test, name))


def test_seed_and_shares_are_in_the_hash_and_change_the_split(prepared: Prepare) -> None:
    protocols = [
        RandomItems(cutoffs=(1,), **more) for more in ({}, {"seed": 1}, {"val": 0.2}, {"test": 0.2})
    ]
    assert len({protocol.hash() for protocol in protocols}) == 4
    data = prepared(**weighted_log())
    first, other = (told(data, protocol.split(data)) for protocol in protocols[:2])
    assert first != other
    with pytest.raises(UserError, match="must leave something"):
        RandomItems(val=0.5, test=0.5)


def test_a_split_is_saved_with_its_order_and_audited_by_it(
    prepared: Prepare, tmp_path: Path
) -> None:
    data = prepared(**weighted_log())
    RandomItems(cutoffs=(1,), val=0.2, test=0.2).split(data).save(tmp_path / "split")
    split = Split.load(tmp_path / "split")
    assert split.order == "none"
    audit(data, split)
    user = int(split.test.user[-1])
    later = np.array(split.test.end)
    later[-1] = split.offsets[user + 1]
    with pytest.raises(LeakError, match="a history holds a target of its own part"):
        audit(data, replace(split, test=split.test._replace(end=later)))
    more = np.array(split.train_end)
    more[user] += 1
    with pytest.raises(LeakError):
        audit(data, replace(split, train_end=more))


def test_it_is_trained_from_the_command_line_and_models_of_order_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = weighted_log()
    path = tmp_path / "likes.csv"
    pl.DataFrame(log).write_csv(path)
    run = [
        "train", "data=table", f"data.path={path}", "data.user=user", "data.item=item",
        "protocol=random_items", "protocol.cutoffs=[1,5]", "monitor=val/ndcg@5", "logger=none", "trainer=cpu",
        f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    assert cli.run([*run, "model=itemknn"]) == 0
    assert "some items" in capfd.readouterr().out
    for model in ("sasrec", "bert4rec", "gru4rec", "tfidf model.half_life=3"):
        with pytest.raises(UserError, match=r"learns from the order .*protocol=random_items"):
            cli.run([*run, *f"model={model}".split(), "data.path=nowhere.csv"])
    for more, said in (
        ([], "or name the times, data.time=COLUMN protocol=leave_one_out, if there are any"),
        (["data.time=ts"], "or protocol=leave_one_out or temporal"),
        (["data.form=lists"], "or protocol=leave_one_out."),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            cli.run([*run, "model=sasrec", "data.path=nowhere.csv", *more])


USERS_AND_ITEMS = ["bprmf", "neumf", "lightgcn", "itemknn", "ease", "tfidf", "popularity"]


@pytest.mark.parametrize("model", USERS_AND_ITEMS)
def test_models_of_users_and_items_take_it(model: str) -> None:
    problem_of(config.compose([f"model={model}", "protocol=random_items"]))


def test_where_rows_stand_for_time_it_is_said_once_and_this_protocol_is_offered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, said = weighted_log(), "the order of the rows is taken as the order of time"
    log |= {"time": list(range(1_600_000_000, 1_600_000_000 + len(log["user"])))}
    rows, lists = tmp_path / "rows.parquet", tmp_path / "lists.jsonl"
    pl.DataFrame(log).write_parquet(rows)
    pl.DataFrame(log).group_by("user").agg("item").write_ndjson(lists)
    untimed = TableSource(str(rows), "user", "item")
    for protocol, source, number in (
        (LeaveOneOut(cutoffs=(1,)), untimed, 1),
        (RandomItems(cutoffs=(1,)), untimed, 0),
        (LeaveOneOut(cutoffs=(1,)), TableSource(str(rows), "user", "item", "time"), 0),
        (LeaveOneOut(cutoffs=(1,)), TableSource(str(lists), "user", "item", form="lists"), 0),
    ):
        caplog.clear()
        load(source, protocol, tmp_path / "cache")
        told = [record.getMessage() for record in caplog.records if said in record.getMessage()]
        assert len(told) == number
        assert all("protocol=random_items" in each and "itemknn" in each for each in told)
