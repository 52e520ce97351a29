"""The target behavior of a log with several: which events are targets, train, and are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from lightning_rec import load_run, train
from lightning_rec.data.audit import audit
from lightning_rec.data.batches import TrainSet
from lightning_rec.data.behaviors import learnt_events
from lightning_rec.data.given import Given
from lightning_rec.data.pipeline import load
from lightning_rec.data.prepare import prepare
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.random_items import RandomItems
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.data.windows import Windows
from lightning_rec.errors import LeakError, UserError
from lightning_rec.objectives.base import Objective
from lightning_rec.objectives.masked_item import MaskedItem
from lightning_rec.objectives.next_item import NextItem
from lightning_rec.objectives.user_item import UserItem

LIKED = {"rating": [4, "5"]}
K = (1, 3)


class Event(NamedTuple):
    """One event; ``row`` is its place in the prepared table."""

    row: int
    item: int
    time: int
    liked: bool


Own = dict[int, list[Event]]
Dealt = tuple[set[int], dict[int, list[int]], dict[int, list[int]]]  # rows; history by target


@pytest.fixture(scope="module")
def own(interactions: Interactions) -> Own:
    """Each user's events in order."""
    found: Own = {}
    for row, each in enumerate(interactions.events.collect().iter_rows(named=True)):
        event = Event(row, each["item"], each["timestamp"], each["rating"] >= 4)
        found.setdefault(each["user"], []).append(event)
    return {user: sorted(events, key=lambda each: each.time) for user, events in found.items()}


def is_copy(event: Event, history: list[Event]) -> bool:
    alike = (event.item, event.time, event.liked)
    return any((each.item, each.time, each.liked) == alike for each in history)


def asked(events: list[Event], places: list[int]) -> dict[int, list[int]]:
    """The rows before each target that is no copy."""
    return {
        events[at].row: [each.row for each in events[:at]]
        for at in places
        if at and not is_copy(events[at], events[:at])
    }


def last_two(own: Own) -> Dealt:
    train: set[int] = set()
    val: dict[int, list[int]] = {}
    test: dict[int, list[int]] = {}
    for events in own.values():
        liked = [at for at, each in enumerate(events) if each.liked][-2:]
        tested = len(liked) == 2 and liked[0] > 0
        train |= {each.row for each in events[: liked[0] if tested else None]}
        if tested:
            val |= asked(events, liked[:1])
            test |= asked(events, liked[1:])
    return train, val, test


def by_time(own: Own) -> Dealt:
    times = np.array([each.time for events in own.values() for each in events])
    first, second = np.quantile(times, 0.5), np.quantile(times, 0.7)
    train = {each.row for events in own.values() for each in events if each.time < first}
    val: dict[int, list[int]] = {}
    test: dict[int, list[int]] = {}
    for events in own.values():
        if events[0].time < first:
            places = [at for at, each in enumerate(events) if each.liked]
            val |= asked(events, [at for at in places if first <= events[at].time < second][:1])
            test |= asked(events, [at for at in places if events[at].time >= second][:1])
    return train, val, test


def told(data: Interactions, split: Split) -> Dealt:
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    train = split.rows[np.arange(len(owner)) < split.train_end[owner]]
    stages = []
    for examples in (split.val, split.test):
        start = split.offsets[examples.user]
        histories = zip(examples.row, start, examples.end, strict=True)
        stages.append({int(row): split.rows[a:b].tolist() for row, a, b in histories})
    return set(train.tolist()), stages[0], stages[1]


@pytest.mark.parametrize(
    ("rule", "oracle"),
    [
        (LeaveOneOut(cutoffs=K, seen="keep", target_events=LIKED), last_two),
        (
            Temporal(cutoffs=K, seen="keep", target_events=LIKED, val_from=0.5, test_from=0.7),
            by_time,
        ),
    ],
)
def test_targets_are_of_the_behavior_and_histories_hold_all(
    rule: SplitProtocol, oracle: Callable[[Own], Dealt], own: Own, interactions: Interactions
) -> None:
    split = rule.split(interactions)
    audit(interactions, split, rule.behavior)
    known = {int(row) for row in split.rows}  # items without training events are in no history
    train, val, test = oracle(own)
    wanted = [
        {
            row: kept
            for row, history in stage.items()
            if (kept := [r for r in history if r in known])
        }
        for stage in (val, test)
    ]
    assert told(interactions, split) == (train, *wanted)
    assert len(test) > 20
    assert any(not each.liked for events in own.values() for each in events if each.row in train)
    assert split.counts["of the target behavior"] == sum(
        each.liked for events in own.values() for each in events
    )


def test_a_rule_without_it_keeps_its_hash_and_one_with_it_has_another() -> None:
    assert LeaveOneOut(target_events=None).hash() == LeaveOneOut().hash()
    assert "target_events" not in LeaveOneOut().settings()
    assert LeaveOneOut(target_events=LIKED).hash() != LeaveOneOut().hash()
    same = LeaveOneOut(target_events={"rating": ["4", "5"]})
    assert same.hash() == LeaveOneOut(target_events=LIKED).hash()


def test_the_hash_of_the_data_is_also_of_what_decides_on_targets(
    log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    """Logs that differ in the kinds of their events alone are split otherwise."""
    kinds = pl.int_range(pl.len()) % 2 == 0
    rules = [
        LeaveOneOut(target_events=of, seen="keep", cutoffs=K) for of in ({"kind": ["buy"]}, None)
    ]
    hashes = []
    for name, bought in (("one", kinds), ("other", ~kinds), ("again", kinds)):
        kind = pl.when(bought).then(pl.lit("buy")).otherwise(pl.lit("view"))
        log_frame.with_columns(kind=kind).write_csv(tmp_path / f"{name}.csv")
        source = TableSource(str(tmp_path / f"{name}.csv"), user="uid", item="sku", time="ts",
                             features=["kind"])  # fmt: skip
        hashes.append([load(source, rule, tmp_path / "cache").data_hash for rule in rules])
    one, other, again = hashes
    assert one == again
    assert one[0] != other[0]
    assert one[1] == other[1]  # where every event is a target they say nothing


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_target_of_another_behavior_is_found(stage: str, interactions: Interactions) -> None:
    rule = LeaveOneOut(cutoffs=K, seen="keep", target_events=LIKED)
    plain = LeaveOneOut(cutoffs=K, seen="keep").split(interactions)
    audit(interactions, plain)
    with pytest.raises(LeakError, match="not of the target behavior"):
        audit(interactions, plain, rule.behavior)
    empty = tuple(column[:0] for column in plain.val)
    other = "test" if stage == "val" else "val"
    alone = Split(**{**plain.__dict__, other: type(plain.val)(*empty)})
    with pytest.raises(LeakError, match=f"{stage} target is not of the target behavior"):
        audit(interactions, alone, rule.behavior)


def test_a_purchase_is_no_copy_of_the_view_at_the_same_moment(tmp_path: Path) -> None:
    rows = [
        (f"u{user}", f"i{(user + step) % 7}", 100 * step, kind)
        for user in range(9)
        for step in range(5)
        for kind in ("view", "buy")
    ]
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "time", "kind"], orient="row").write_csv(path)
    source = TableSource(str(path), user="user", item="item", time="time", features=["kind"])
    data = prepare(source, tmp_path)
    words = {"cutoffs": K, "seen": "keep", "target_events": {"kind": "buy"}}
    rule = LeaveOneOut(**words, drop_doubled=True, drop_repeats=True)
    split = rule.split(data)
    audit(data, split, rule.behavior)
    assert split.test.size == split.val.size == 9
    kinds = data.events.collect()["kind"]
    assert set(kinds.gather(split.test.row.tolist())) == {"buy"}
    assert split.counts["doubled test targets"] == 0
    assert np.diff(split.offsets).tolist() == [10] * 9  # the views stand in the histories


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (LeaveOneOut(target_events={"ratings": 4}), r"no column 'ratings'.*Did you mean 'rating'"),
        (
            LeaveOneOut(target_events={"rating": 9}),
            r"rating: \[9\].*no event.*there are: rating \(",
        ),
        (Temporal(target_events={"rating": "buy"}), "holds numbers, and 'buy' is none"),
        (LeaveOneOut(target_events={"user": 4}), "no column 'user'"),
    ],
)
def test_a_behavior_that_is_not_there_is_refused(
    rule: SplitProtocol, told: str, interactions: Interactions
) -> None:
    with pytest.raises(UserError, match=told):
        rule.split(interactions)


def test_a_behavior_that_says_nothing_is_refused() -> None:
    wrong: list[Any] = [{}, {"kind": []}, "purchase"]
    for said in wrong:
        with pytest.raises(UserError, match="target_events"):
            LeaveOneOut(target_events=said)
    with pytest.raises(UserError, match="nothing comes before"):
        RandomItems(target_events=LIKED)


def test_sessions_and_parts_that_came_take_it(log_frame: pl.DataFrame, tmp_path: Path) -> None:
    frame = log_frame.sort("ts", maintain_order=True)
    whole, cut = tmp_path / "whole.csv", [0, 700, 900, len(frame)]
    frame.write_csv(whole)
    roles = {"user": "uid", "item": "sku", "time": "ts", "rating": "stars"}
    paths = {}
    for key, start, end in zip(("path", "val", "test"), cut, cut[1:], strict=False):
        paths[key] = str(tmp_path / f"{key}.csv")
        frame[start:end].write_csv(paths[key])
    sessions = {**roles, "session": "uid"}
    del sessions["user"]
    logs = [
        (prepare(TableSource(str(whole), **sessions), tmp_path), Sessions),
        (prepare(TableSource(**paths, **roles), tmp_path), Given),
    ]
    for data, kind in logs:
        rating = data.events.collect()["rating"]
        for targets in ("all", "last"):
            words = {"cutoffs": K, "seen": "keep", "targets": targets}
            every, rule = kind(**words), kind(**words, target_events=LIKED)
            split, plain = rule.split(data), every.split(data)
            audit(data, split, rule.behavior)
            assert rating.gather(split.test.row.tolist()).is_in([4.0, 5.0]).all()
            assert split.items.tolist() == plain.items.tolist()
            liked = {row for row in plain.test.row.tolist() if rating[row] >= 4}
            assert set(split.test.row.tolist()) >= liked
            if targets == "all":  # one that is alike another but for the behavior is no copy
                assert split.test.size <= len(liked) + plain.counts["doubled test targets"]
            else:
                assert split.test.size > len(liked)


OBJECTIVES: list[Objective] = [NextItem(), MaskedItem(mask_prob=0.4), UserItem()]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.name)
def test_training_predicts_the_behavior_alone(
    objective: Objective, interactions: Interactions
) -> None:
    rule = LeaveOneOut(cutoffs=K, target_events=LIKED)
    split = rule.split(interactions)
    learnt = learnt_events(interactions, split, rule, "target")
    assert learnt is not None
    rating = interactions.events.collect()["rating"]
    assert learnt.tolist() == [rating[int(row)] >= 4 for row in split.rows]
    schema = Schema(split.num_items, 6, split.num_users)
    width = objective.window(schema.max_len)
    found = TrainSet(split, schema, width, 0.5, learnt=learnt)
    every = Windows(split, width, 0.5)
    first = 1 if width > 1 else 0
    bounds = zip(*every[np.arange(len(every))][1:], strict=True)
    able = [at for at, (a, b) in enumerate(bounds) if learnt[a + first : b].any()]
    assert found.numbers is not None
    assert found.numbers.tolist() == able
    assert len(able) < len(every)
    torch.manual_seed(0)
    batch = found.__getitems__(list(range(len(found)))).histories
    assert batch.learnt is not None
    made = objective.training_inputs(batch, schema)
    assert made.histories.learnt is None
    assert made.positions.any(dim=1).all()
    hidden = batch.items[:, 1:] if isinstance(objective, NextItem) else batch.items
    may = batch.learnt[:, 1:] if isinstance(objective, NextItem) else batch.learnt
    assert not (made.positions & ~may).any()
    assert torch.equal(made.targets, hidden[made.positions])
    if not isinstance(objective, MaskedItem):
        assert torch.equal(made.positions, may)


def test_nothing_is_masked_where_all_is_learnt(interactions: Interactions) -> None:
    split = LeaveOneOut(cutoffs=K).split(interactions)
    assert learnt_events(interactions, split, LeaveOneOut(cutoffs=K), "all") is None
    with pytest.raises(UserError, match=r"task\.learn=target needs the target behavior"):
        learnt_events(interactions, split, LeaveOneOut(cutoffs=K), "target")
    schema = Schema(split.num_items, 6, split.num_users)
    with pytest.raises(UserError, match="no window to train on has a target event"):
        TrainSet(split, schema, 7, 0.5, learnt=np.zeros(len(split.items), dtype=bool))


def test_what_a_closed_form_ignores_is_told(
    log_csv: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        *("data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"),
        *("data.rating=stars", "protocol.target_events={rating: [4, 5]}", "task.learn=target"),
        *("protocol.cutoffs=[1,10]", "model=popularity", "logger=none", "baseline=null"),
    ]
    train(*words, f"run_dir={tmp_path / 'run'}")
    assert "Popularity counts events of all behaviors" in capfd.readouterr().err


def test_truth_values_are_said_as_yaml_does(tmp_path: Path) -> None:
    rows = [(f"u{u}", f"i{(u + s) % 7}", s, s % 2 == 1) for u in range(9) for s in range(6)]
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "paid"], orient="row")
    for name in ("log.csv", "log.parquet"):
        path = tmp_path / name
        frame.write_csv(path) if name.endswith("csv") else frame.write_parquet(path)
        roles: dict[str, Any] = {"user": "user", "item": "item", "time": "time"}
        data = prepare(TableSource(str(path), **roles, features=["paid"]), tmp_path)
        split = LeaveOneOut(cutoffs=K, target_events={"paid": [True]}).split(data)
        assert split.counts["of the target behavior"] == 27
        kept = prepare(TableSource(str(path), **roles, keep={"paid": True}), tmp_path)
        assert kept.info["events"] == 27


def test_a_run_of_views_and_purchases(log_frame: pl.DataFrame, tmp_path: Path) -> None:
    bought = pl.when(pl.col("stars") >= 4).then(pl.lit("buy")).otherwise(pl.lit("view"))
    path = tmp_path / "log.csv"
    log_frame.with_columns(kind=bought).write_csv(path)
    words = [
        *("data=table", f"data.path={path}", "data.user=uid", "data.item=sku", "data.time=ts"),
        *("data.features=[kind]", "protocol.target_events={kind: [buy]}", "protocol.seen=keep"),
        *("protocol.cutoffs=[1,10]", "task.learn=target", "task.events=[kind]", "model=sasrec"),
        *("model.dim=16", "trainer=cpu", "trainer.max_epochs=2", "logger=none", "baseline=null"),
    ]
    run = train(*words, f"run_dir={tmp_path / 'run'}")
    frame = log_frame.with_columns(kind=bought).sort("ts", maintain_order=True)
    last = frame.filter(kind="buy").group_by("uid", maintain_order=True).agg(pl.col("sku").last())
    wanted = dict(last.iter_rows())
    tested = pl.read_parquet(run.path / "test_users.parquet")
    assert len(tested) > 20
    assert {row["user"]: row["item"] for row in tested.iter_rows(named=True)}.items() <= (
        wanted.items()
    )
    assert run.metrics["test/recall@10"] == pytest.approx((tested["rank"] <= 10).mean())
    found = load_run(run.path).recommend(users=[tested["user"][0]], k=3)
    assert len(found) == 3
