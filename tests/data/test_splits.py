"""Every protocol against a slow oracle in plain Python, and the refusals."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Examples, Split
from lightning_rec.data.splits import LeaveOneOut, Protocol, Temporal
from lightning_rec.errors import UserError

Prepare = Callable[..., Interactions]
K = (1, 3)


class Event(NamedTuple):
    user: str
    item: str
    time: int
    row: int
    rating: float


class Told(NamedTuple):
    """A split in raw ids: what each user trains on, and (user, history, target, row) per target."""

    train: dict[str, list[str]]
    counts: dict[str, int]
    val: list[tuple[str, list[str], str | None, int]]
    test: list[tuple[str, list[str], str | None, int]]


def small_log(seed: int) -> dict[str, list[Any]]:
    """Up to 180 events of 10 users over 12 items, many at equal times, in the order of a file."""
    chance = random.Random(seed)
    users = [f"u{chance.randrange(10)}" for _ in range(chance.randint(130, 180))]
    return {
        "user": users,
        "item": [f"i{int(12 * chance.random() ** 1.5)}" for _ in users],
        # Users u8 and u9 come late: under the temporal protocol they have no training history.
        "time": [1_600_000_000 + chance.randrange(22 if u > "u7" else 0, 25) for u in users],
        "rating": [chance.randint(1, 5) for _ in users],
    }


def oracle(log: dict[str, list[Any]], protocol: Protocol) -> Told:
    rows = range(len(log["user"]))
    events = [
        Event(log["user"][r], log["item"][r], log["time"][r], r, log["rating"][r]) for r in rows
    ]
    if protocol.min_rating is not None:
        events = [event for event in events if event.rating >= protocol.min_rating]
    while True:
        users, items = Counter(e.user for e in events), Counter(e.item for e in events)
        kept = [
            e
            for e in events
            if users[e.user] >= protocol.user_core and items[e.item] >= protocol.item_core
        ]
        if kept == events:
            break
        events = kept
    sequences: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.time, event.row)):
        sequences.setdefault(event.user, []).append(event)
    if isinstance(protocol, LeaveOneOut):
        parts = {
            user: (sequence[:-2], sequence[-2:-1], sequence[-1:])
            if len(sequence) >= 3
            else (sequence, [], [])
            for user, sequence in sequences.items()
        }
    else:
        assert isinstance(protocol, Temporal)
        times = sorted(event.time for event in events)
        cuts = [
            times[math.ceil(q * (len(times) - 1))] for q in (protocol.val_from, protocol.test_from)
        ]
        pick = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[protocol.targets]
        parts = {}
        for user, sequence in sequences.items():
            train = [e for e in sequence if e.time < cuts[0]]
            val = [e for e in sequence if cuts[0] <= e.time < cuts[1]][pick]
            test = [e for e in sequence if e.time >= cuts[1]][pick]
            parts[user] = (train, val, test) if train else ([], [], [])
    train = {user: [e.item for e in part[0]] for user, part in parts.items()}
    known = {item for items in train.values() for item in items}

    def examples(stage: int) -> list[tuple[str, list[str], str | None, int]]:
        found = []
        for user, sequence in sequences.items():
            for event in parts[user][stage]:
                history = [e.item for e in sequence[: sequence.index(event)] if e.item in known]
                cold = event.item not in known
                if history and not (cold and protocol.cold_targets == "exclude"):
                    found.append((user, history, None if cold else event.item, event.row))
        return sorted(found, key=lambda example: example[3])

    counts = Counter(item for items in train.values() for item in items)
    return Told(
        {u: items for u, items in train.items() if items}, dict(counts), examples(1), examples(2)
    )


def told(split: Split, data: Interactions) -> Told:
    users = data.users["user"].to_list()
    names = data.items["item"][split.vocabulary.tolist()].to_list()

    def history(user: int, end: int) -> list[str]:
        return [names[code] for code in split.items[split.offsets[user] : end]]

    def examples(stage: Examples) -> list[tuple[str, list[str], str | None, int]]:
        rows = zip(*(column.tolist() for column in stage), strict=True)
        found = [
            (users[u], history(u, end), names[t] if t >= 0 else None, row)
            for u, end, t, row in rows
        ]
        return sorted(found, key=lambda example: example[3])

    train = {users[u]: history(u, int(end)) for u, end in enumerate(split.train_end)}
    counts = dict(zip(names, split.train_counts.tolist(), strict=True))
    return Told(
        {u: items for u, items in train.items() if items},
        counts,
        examples(split.val),
        examples(split.test),
    )


PROTOCOLS: list[Protocol] = [
    LeaveOneOut(cutoffs=K),
    LeaveOneOut(cutoffs=K, min_rating=2.5),
    LeaveOneOut(cutoffs=K, user_core=7, item_core=6, cold_targets="exclude"),
    LeaveOneOut(cutoffs=K, min_rating=2, user_core=5),
    *(Temporal(cutoffs=K, targets=targets) for targets in ("first", "last", "all")),  # type: ignore[arg-type]
    Temporal(cutoffs=K, targets="all", cold_targets="exclude", val_from=0.5, test_from=0.8),
    Temporal(cutoffs=K, min_rating=2, item_core=4, val_from=0.6, test_from=0.7),
]


@pytest.mark.parametrize("seed", range(4))
def test_splits_are_the_oracles(seed: int, prepared: Prepare) -> None:
    log = small_log(seed)
    data = prepared(**log)
    for protocol in PROTOCOLS:
        assert told(protocol.split(data), data) == oracle(log, protocol), protocol


def test_cores_are_filtered_until_nothing_changes(prepared: Prepare) -> None:
    # Users a to d hang on each other like a chain: the loss of item 0 unravels them all.
    chain = [
        ("a", "0"),
        ("a", "1"),
        ("b", "1"),
        ("b", "2"),
        ("c", "2"),
        ("c", "3"),
        ("d", "3"),
        ("d", "4"),
    ]
    kept = [(user, item) for user in "xyz" for item in "pqr"]
    users, items = zip(*chain, *kept, strict=True)
    data = prepared(user=list(users), item=list(items))
    protocol = LeaveOneOut(cutoffs=(1,), user_core=2, item_core=2)
    events, _ = protocol._filter(data)
    assert events["row"].to_list() == list(range(len(chain), len(users)))


def test_equal_times_keep_the_order_of_the_file(prepared: Prepare) -> None:
    log = {"user": list("aaaabb"), "item": list("zxywzy"), "time": [9, 9, 9, 9, 1, 1]}
    data = prepared(**log)
    split = LeaveOneOut(cutoffs=(1,)).split(data)
    assert told(split, data).train["a"] == ["z", "x"]
    assert [(target, row) for _, _, target, row in told(split, data).val] == [("y", 2)]
    assert [(target, row) for _, _, target, row in told(split, data).test] == [(None, 3)]


def test_a_cold_target_is_a_miss_or_left_out_and_counted(prepared: Prepare) -> None:
    # Item N is the last of user a and nobody trains on it.
    data = prepared(user=list("aaaabbbb"), item=list("xyzNzyxz"), time=list(range(8)))
    miss = LeaveOneOut(cutoffs=(1,)).split(data)
    exclude = LeaveOneOut(cutoffs=(1,), cold_targets="exclude").split(data)
    assert sorted(miss.test.target.tolist()) == [-1, 2]
    assert exclude.test.target.tolist() == [2]
    assert miss.counts["cold test targets"] == exclude.counts["cold test targets"] == 1


def test_users_with_too_little_history_are_counted_and_named(
    leave_one_out: Split, temporal: Split
) -> None:
    for split in (leave_one_out, temporal):
        without = 60 - len(np.unique(split.test.user))
        assert split.counts["users not evaluated"] == without
        assert split.notes[0].startswith(f"{without} of 60 users have no test target")
    assert leave_one_out.notes[0].endswith("(u0, u1).")


def test_many_short_users_are_named_up_to_a_dozen(prepared: Prepare) -> None:
    users = [*"aaa", *(f"short{n}" for n in range(20))]
    split = LeaveOneOut(cutoffs=(1,)).split(prepared(user=users, item=["x", "y", "z", *"xy" * 10]))
    assert "20 of 21 users" in split.notes[0]
    assert "short11 and 8 more" in split.notes[0]


def test_two_cuts_make_the_windows(temporal: Split, interactions: Interactions) -> None:
    assert temporal.boundaries is not None
    time = interactions.events.collect()["timestamp"].to_numpy()
    early, late = temporal.boundaries
    assert early < late
    assert (time < early).mean() == pytest.approx(0.8, abs=0.02)
    assert (time < late).mean() == pytest.approx(0.9, abs=0.02)
    assert (time[temporal.val.row] >= early).all()
    assert (time[temporal.val.row] < late).all()
    assert (time[temporal.test.row] >= late).all()


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (
            LeaveOneOut(min_rating=5, user_core=100),
            [
                "Nothing is left",
                "events read: 1,",
                "min_rating=5: ",
                "user_core=100, item_core=0: 0",
            ],
        ),
        (LeaveOneOut(cutoffs=(1, 50)), ["top 50", "40 items"]),
    ],
)
def test_what_cannot_work_is_refused_with_the_counts(
    protocol: Protocol, words: list[str], interactions: Interactions
) -> None:
    with pytest.raises(UserError) as refusal:
        protocol.split(interactions)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_missing_columns_are_named(prepared: Prepare) -> None:
    data = prepared(user=list("aaaabbbb"), item=list("xyzxyzxz"))
    LeaveOneOut(cutoffs=(1,)).split(data)  # needs neither
    with pytest.raises(UserError, match=r"data\.time.*leave_one_out"):
        Temporal(cutoffs=(1,)).split(data)
    with pytest.raises(UserError, match=r"data\.rating"):
        LeaveOneOut(cutoffs=(1,), min_rating=3).split(data)


@pytest.mark.parametrize("protocol", [LeaveOneOut(cutoffs=(1,)), Temporal(cutoffs=(1,))])
def test_no_targets_at_all_is_told_with_the_counts(protocol: Protocol, prepared: Prepare) -> None:
    data = prepared(user=list("aabbcc"), item=list("xyxyxy"), time=[5] * 6)
    with pytest.raises(UserError, match=r"leaves no validation targets .*events read: 6"):
        protocol.split(data)


def test_a_saved_split_comes_back_memory_mapped(
    temporal: Split, leave_one_out: Split, tmp_path: Path
) -> None:
    for number, split in enumerate((temporal, leave_one_out)):
        split.save(tmp_path / f"{number}")
        back = Split.load(tmp_path / f"{number}")
        for name, array in split._arrays().items():
            mapped = back._arrays()[name]
            assert isinstance(mapped, np.memmap)
            assert not mapped.flags.writeable
            assert mapped.dtype == array.dtype
            assert np.array_equal(mapped, array)
        assert (back.boundaries, back.counts, back.notes) == (
            split.boundaries,
            split.counts,
            split.notes,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"min_rating": 4.0}, {"user_core": 5}, {"item_core": 5}, {"cutoffs": (10,)}, {"cold_targets": "exclude"},
        {"val_from": 0.7}, {"test_from": 0.95}, {"targets": "all"},
    ],
)  # fmt: skip
def test_each_setting_changes_the_hash(change: dict[str, Any]) -> None:
    assert replace(Temporal(), **change).hash() != Temporal().hash() == replace(Temporal()).hash()
    if hasattr(LeaveOneOut(), next(iter(change))):
        assert replace(LeaveOneOut(), **change).hash() != LeaveOneOut().hash()


def test_protocols_differ_in_their_hash() -> None:
    assert LeaveOneOut().hash() != Temporal().hash()
