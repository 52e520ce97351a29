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
    """Up to 160 events of 14 users over 12 items, many at equal times, in the order of a file."""
    chance = random.Random(seed)
    users = [f"u{chance.randrange(14)}" for _ in range(chance.randint(90, 160))]
    return {
        "user": users,
        "item": [f"i{int(12 * chance.random() ** 2)}" for _ in users],
        "time": [1_600_000_000 + chance.randrange(25) for _ in users],
        "rating": [chance.randint(1, 5) for _ in users],
    }


def oracle(log: dict[str, list[Any]], protocol: Protocol) -> Told:
    rows = range(len(log["user"]))
    events = [Event(log["user"][r], log["item"][r], log["time"][r], r, log["rating"][r]) for r in rows]
    if protocol.min_rating is not None:
        events = [event for event in events if event.rating >= protocol.min_rating]
    while True:
        users, items = Counter(e.user for e in events), Counter(e.item for e in events)
        kept = [e for e in events if users[e.user] >= protocol.user_core and items[e.item] >= protocol.item_core]
        if kept == events:
            break
        events = kept
    sequences: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.time, event.row)):
        sequences.setdefault(event.user, []).append(event)
    if isinstance(protocol, LeaveOneOut):
        parts = {
            user: (sequence[:-2], sequence[-2:-1], sequence[-1:]) if len(sequence) >= 3 else (sequence, [], [])
            for user, sequence in sequences.items()
        }
    else:
        assert isinstance(protocol, Temporal)
        times = sorted(event.time for event in events)
        cuts = [times[math.ceil(q * (len(times) - 1))] for q in (protocol.val_from, protocol.test_from)]
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
    return Told({u: items for u, items in train.items() if items}, dict(counts), examples(1), examples(2))


def told(split: Split, data: Interactions) -> Told:
    users = data.users["user"].to_list()
    names = data.items["item"][split.vocabulary.tolist()].to_list()

    def history(user: int, end: int) -> list[str]:
        return [names[code] for code in split.items[split.offsets[user] : end]]

    def examples(stage: Examples) -> list[tuple[str, list[str], str | None, int]]:
        rows = zip(*(column.tolist() for column in stage), strict=True)
        found = [(users[u], history(u, end), names[t] if t >= 0 else None, row) for u, end, t, row in rows]
        return sorted(found, key=lambda example: example[3])

    train = {users[u]: history(u, int(end)) for u, end in enumerate(split.train_end)}
    counts = dict(zip(names, split.train_counts.tolist(), strict=True))
    return Told({u: items for u, items in train.items() if items}, counts, examples(split.val), examples(split.test))


PROTOCOLS: list[Protocol] = [
    LeaveOneOut(cutoffs=K),
    LeaveOneOut(cutoffs=K, min_rating=2.5),
    LeaveOneOut(cutoffs=K, user_core=9, item_core=9, cold_targets="exclude"),
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


def test_equal_times_keep_the_order_of_the_file(prepared: Prepare) -> None:
    log = {"user": list("aaaabb"), "item": list("zxywzy"), "time": [9, 9, 9, 9, 1, 1]}
    data = prepared(**log)
    split = LeaveOneOut(cutoffs=(1,)).split(data)
    assert told(split, data).train["a"] == ["z", "x"]
    assert [(target, row) for _, _, target, row in told(split, data).val] == [("y", 2)]
    assert [(target, row) for _, _, target, row in told(split, data).test] == [(None, 3)]


@pytest.mark.parametrize(("cold", "targets"), [("miss", 2), ("exclude", 1)])
def test_a_cold_target_is_a_miss_or_left_out_and_counted(cold: Any, targets: int, prepared: Prepare) -> None:
    data = prepared(user=list("aaaabbbb"), item=list("xyzNxyyz"), time=list(range(8)))
    split = LeaveOneOut(cutoffs=(1,), cold_targets=cold).split(data)
    # z is the validation target of a and the test target of b, and never trained on.
    assert sorted(split.test.target.tolist()) == [-1, -1][: 2 * targets - 2]
