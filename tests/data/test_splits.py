"""Every protocol against a slow oracle in plain Python, and the refusals."""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from lightning_rec import config
from lightning_rec.data.audit import audit
from lightning_rec.data.candidates import Candidates
from lightning_rec.data.filters import filtered
from lightning_rec.data.prepare import prepare
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions, Tables
from lightning_rec.data.split import Examples, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import UserError

Prepare = Callable[..., Interactions]
K = (1, 3)


class AsItIs:
    """A log whose rows stay in the order of the file, as those of published data do."""

    name = "small"

    def __init__(self, path: Path) -> None:
        self.path = path

    def files(self) -> list[Path]:
        return [self.path]

    def settings(self) -> dict[str, Any]:
        return {}

    def read(self, files: list[Path]) -> Tables:
        types = {"user": pl.String, "item": pl.String, "time": pl.Int64, "rating": pl.Float32}
        rows = pl.scan_csv(files[0], schema_overrides=types)
        return Tables(rows.rename({"time": "timestamp"}, strict=False))


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """``prepared(user=[…], item=[…], time=[…], rating=[…])``: a log in the order of these rows."""

    def make(**columns: list[Any]) -> Interactions:
        path = tmp_path / "small.csv"
        pl.DataFrame(columns).write_csv(path)
        return prepare(AsItIs(path), tmp_path / "cache")

    return make


class Event(NamedTuple):
    user: str
    item: str
    time: int
    row: int
    rating: float


class Told(NamedTuple):
    """A split in raw ids: what each user trains on, and (user, history, target, row) per target.

    ``seen`` are the rows of targets whose users had the item before.
    """

    train: dict[str, list[str]]
    counts: dict[str, int]
    val: list[tuple[str, list[str], str | None, int]]
    test: list[tuple[str, list[str], str | None, int]]
    seen: set[int]


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


def in_order(events: list[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (event.time, event.row))


def steady(events: list[Event], protocol: SplitProtocol) -> list[Event]:
    """One round of the filters: copies, repeats, then rare users, then rare items."""
    if protocol.drop_doubled:
        first = {(e.user, e.item, e.time): e.row for e in reversed(events)}
        events = [event for event in events if event.row in set(first.values())]
    if protocol.drop_repeats:
        latest: dict[str, str] = {}
        kept = []
        for event in in_order(events):
            if latest.get(event.user) != event.item:
                kept.append(event)
            latest[event.user] = event.item
        events = sorted(kept, key=lambda event: event.row)
    users = Counter(event.user for event in events)
    events = [event for event in events if users[event.user] >= protocol.user_core]
    items = Counter(event.item for event in events)
    return [event for event in events if items[event.item] >= protocol.item_core]


Parts = dict[str, tuple[list[Event], list[Event], list[Event]]]


def last_two(sequences: dict[str, list[Event]]) -> Parts:
    return {
        user: (sequence[:-2], sequence[-2:-1], sequence[-1:])
        if len(sequence) >= 3
        else (sequence, [], [])
        for user, sequence in sequences.items()
    }


def linear_quantile(values: list[int], share: float) -> float:
    """As pandas has it."""
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)


def windows(sequences: dict[str, list[Event]], protocol: SplitProtocol) -> Parts:
    """Training, validation and test events of each user by time; ``stage`` says which an event is."""
    assert isinstance(protocol, Temporal)
    times = sorted(event.time for sequence in sequences.values() for event in sequence)
    if protocol.nested:
        late = linear_quantile(times, protocol.test_from)
        before = [[e.time for e in sequence if e.time <= late] for sequence in sequences.values()]
        several = [time for times in before if len(times) >= 2 for time in times]
        early = linear_quantile(several, protocol.val_from)

        def stage(event: Event) -> int:
            return (event.time > early) + (event.time > late)
    else:
        cuts = [
            times[math.ceil(q * (len(times) - 1))] for q in (protocol.val_from, protocol.test_from)
        ]

        def stage(event: Event) -> int:
            return sum(event.time >= cut for cut in cuts)

    pick = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}[protocol.targets]
    parts: Parts = {}
    for user, sequence in sequences.items():
        train = [event for event in sequence if stage(event) == 0]
        # The first event of a user without training is nobody's to tell: it has no history.
        able = sequence[not train :] if train or protocol.new_users else []
        val, test = ([event for event in able if stage(event) == number][pick] for number in (1, 2))
        parts[user] = (train, val, test)
    return parts


def splitmix(seed: int, place: int) -> int:
    """Number ``place`` of SplitMix64, in Python's whole numbers."""
    word = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def lot(users: list[str], able: list[str], seed: int, number: int | None) -> set[str]:
    """Which of the users who can be are validated or tested on: those with the lowest numbers, by code."""
    codes = list(dict.fromkeys(users))
    by_lot = sorted(able, key=lambda user: splitmix(seed, codes.index(user)))
    return set(by_lot[:number])


def oracle(log: dict[str, list[Any]], protocol: SplitProtocol) -> Told:
    rows = range(len(log["user"]))
    events = [
        Event(log["user"][r], log["item"][r], log["time"][r], r, log["rating"][r]) for r in rows
    ]
    if protocol.min_rating is not None:
        events = [event for event in events if event.rating >= protocol.min_rating]
    while True:
        kept = steady(events, protocol)
        if kept == events:
            break
        events = kept
    sequences: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.time, event.row)):
        sequences.setdefault(event.user, []).append(event)
    parts = (
        last_two(sequences) if isinstance(protocol, LeaveOneOut) else windows(sequences, protocol)
    )
    able = [[user for user, part in parts.items() if part[stage]] for stage in (1, 2)]
    drawn = lot(log["user"], able[0], protocol.val_seed, protocol.val_users)
    tested = lot(log["user"], able[1], protocol.test_seed, protocol.test_users)
    for user, (train, val, test) in parts.items():
        test = test if user in tested else []
        parts[user] = (train, val, test)
        if user not in drawn:
            joins = isinstance(protocol, LeaveOneOut) and protocol.others_train
            parts[user] = (train + val if joins else train, [], test)
    train = {user: [e.item for e in part[0]] for user, part in parts.items()}  # type: ignore[assignment]
    known = {item for items in train.values() for item in items}  # type: ignore[attr-defined]

    seen: set[int] = set()

    def examples(stage: int) -> list[tuple[str, list[str], str | None, int]]:
        found = []
        for user, sequence in sequences.items():
            for event in parts[user][stage]:
                earlier = sequence[: sequence.index(event)]
                history = [e.item for e in earlier if e.item in known]
                cold, again = event.item not in known, event.item in {e.item for e in earlier}
                if not history or (cold and protocol.cold_targets == "exclude"):
                    continue
                if protocol.seen == "keep":
                    no_test, missed = (
                        (event.item, event.time) in {(e.item, e.time) for e in earlier},
                        False,
                    )
                else:
                    missed = again and protocol.seen_targets == "miss"
                    no_test = again and not missed
                if not no_test:
                    seen.update([event.row] if again else [])
                    target = None if cold or missed else event.item
                    found.append((user, history, target, event.row))
        return sorted(found, key=lambda example: example[3])

    counts = Counter(item for items in train.values() for item in items)  # type: ignore[attr-defined]
    val, test = examples(1), examples(2)  # type: ignore[assignment]
    return Told({u: items for u, items in train.items() if items}, dict(counts), val, test, seen)  # type: ignore[attr-defined]


def told(split: Split, data: Interactions) -> Told:
    users = data.users["user"].to_list()
    names = data.items["item"][split.vocabulary.tolist()].to_list()

    def history(user: int, end: int) -> list[str]:
        return [names[code] for code in split.items[split.offsets[user] : end]]

    def examples(stage: Examples) -> list[tuple[str, list[str], str | None, int]]:
        rows = zip(*(column.tolist() for column in stage[:4]), strict=True)
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
        {row for stage in (split.val, split.test) for row in stage.row[stage.seen].tolist()},
    )


KEPT: list[SplitProtocol] = [
    LeaveOneOut(cutoffs=K),
    LeaveOneOut(cutoffs=K, min_rating=2.5),
    LeaveOneOut(cutoffs=K, user_core=7, item_core=6, cold_targets="exclude"),
    LeaveOneOut(cutoffs=K, min_rating=2, user_core=5),
    *(Temporal(cutoffs=K, targets=targets) for targets in ("first", "last", "all")),
    Temporal(cutoffs=K, targets="all", cold_targets="exclude", val_from=0.5, test_from=0.8),
    Temporal(cutoffs=K, min_rating=2, item_core=4, val_from=0.6, test_from=0.7),
    LeaveOneOut(cutoffs=K, val_users=4),
    LeaveOneOut(cutoffs=K, val_users=4, val_seed=7, others_train=True),
    LeaveOneOut(cutoffs=K, val_users=10_000, others_train=True),
    LeaveOneOut(cutoffs=K, val_users=0, others_train=True),
    LeaveOneOut(cutoffs=K, val_users=0),
    LeaveOneOut(cutoffs=K, drop_repeats=True),
    LeaveOneOut(cutoffs=K, user_core=8, item_core=7, drop_repeats=True, val_users=5),
    Temporal(cutoffs=K, val_users=3, targets="all"),
    Temporal(cutoffs=K, val_users=0),
    *(Temporal(cutoffs=K, new_users=True, targets=targets) for targets in ("first", "last", "all")),
    Temporal(cutoffs=K, nested=True, val_from=0.6, test_from=0.8),
    *(
        Temporal(
            cutoffs=K, user_core=5, item_core=5, drop_repeats=True, nested=True, new_users=True,
            val_from=0.7, test_from=0.7, targets=targets, val_users=4,
        )
        for targets in ("last", "all")
    ),
    LeaveOneOut(cutoffs=K, test_users=5),
    LeaveOneOut(cutoffs=K, test_users=4, test_seed=7, val_users=0),
    Temporal(cutoffs=K, test_users=3, targets="all"),
    LeaveOneOut(cutoffs=K, drop_doubled=True),
    Temporal(cutoffs=K, drop_doubled=True, drop_repeats=True, user_core=4, targets="all"),
]  # fmt: skip
WORDS: list[dict[str, Any]] = [
    {"seen": "keep"},
    {"seen_targets": "miss"},
    {"seen_targets": "exclude"},
]
PROTOCOLS = [replace(protocol, **words) for words in WORDS for protocol in KEPT]


@pytest.mark.parametrize("seed", range(4))
def test_splits_are_the_oracles_and_pass_the_audit(seed: int, prepared: Prepare) -> None:
    log = small_log(seed)
    data = prepared(**log)
    for protocol in PROTOCOLS:
        expected = oracle(log, protocol)
        if not expected.test or not (expected.val or protocol.val_users == 0):
            with pytest.raises(UserError, match=r"leaves no \w+ targets"):
                protocol.split(data)
            continue
        split = protocol.split(data)
        assert told(split, data) == expected, protocol
        assert split.seen == protocol.seen
        audit(data, split)


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
    events, _ = filtered(data, None, user_core=2, item_core=2, drop_repeats=False)
    assert sorted(events.row) == list(range(len(chain), len(users)))


def test_repeats_that_a_core_brings_together_are_dropped(prepared: Prepare) -> None:
    # Without the lone item n, user a has x twice on end; user b's repeat is interleaved in the file.
    data = prepared(user=list("abababab"), item=list("xynyxxyx"))
    events, counts = filtered(data, None, user_core=0, item_core=2, drop_repeats=True)
    names = data.items["item"].to_list()
    users = data.users["user"].to_list()
    kept = [(users[u], names[i]) for u, i in zip(events.user, events.item, strict=True)]
    assert kept == [("a", "x"), ("a", "y"), ("b", "y"), ("b", "x")]
    assert counts["after user_core=0, item_core=2, drop_repeats"] == 4


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
    miss = LeaveOneOut(cutoffs=(1,), seen="keep").split(data)
    exclude = LeaveOneOut(cutoffs=(1,), seen="keep", cold_targets="exclude").split(data)
    assert sorted(miss.test.target.tolist()) == [-1, 2]
    assert exclude.test.target.tolist() == [2]
    assert miss.counts["cold test targets"] == exclude.counts["cold test targets"] == 1


def test_users_with_too_little_history_are_counted_and_named(interactions: Interactions) -> None:
    missed = LeaveOneOut(cutoffs=K, seen_targets="miss")
    for protocol in (missed, LeaveOneOut(cutoffs=K), Temporal(cutoffs=K)):
        split = protocol.split(interactions)
        without = 60 - len(np.unique(split.test.user))
        assert split.counts["users not evaluated"] == without
        assert split.notes[0].startswith(f"{without} of 60 users have no test target")
    assert missed.split(interactions).notes[0].endswith("(u1, u0).")
    assert "leave_one_out: 2 have too few events" in missed.split(interactions).notes[0]
    assert "have a target that is left out" in LeaveOneOut(cutoffs=K).split(interactions).notes[0]


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
    protocol: SplitProtocol, words: list[str], interactions: Interactions
) -> None:
    with pytest.raises(UserError) as refusal:
        protocol.split(interactions)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_missing_columns_are_named(prepared: Prepare) -> None:
    data = prepared(user=list("aaaabbbb"), item=list("wxyzzyxw"))
    LeaveOneOut(cutoffs=(1,)).split(data)  # needs neither
    with pytest.raises(UserError, match=r"data\.time.*leave_one_out"):
        Temporal(cutoffs=(1,)).split(data)
    with pytest.raises(UserError, match=r"data\.rating"):
        LeaveOneOut(cutoffs=(1,), min_rating=3).split(data)


@pytest.mark.parametrize("protocol", [LeaveOneOut(cutoffs=(1,)), Temporal(cutoffs=(1,))])
def test_no_targets_at_all_is_told_with_the_counts(
    protocol: SplitProtocol, prepared: Prepare
) -> None:
    data = prepared(user=list("aabbcc"), item=list("xyxyxy"), time=[5] * 6)
    with pytest.raises(UserError, match=r"leaves no validation targets .*events read: 6"):
        protocol.split(data)


def test_a_catalogue_of_one_has_nothing_to_rank(prepared: Prepare) -> None:
    data = prepared(user=list("aaaabbbb"), item=["only"] * 8, time=[1, 2, 3, 4] * 2)
    with pytest.raises(UserError, match="leaves 1 item in training: there is nothing to rank"):
        LeaveOneOut(cutoffs=(1,)).split(data)


def test_a_saved_split_comes_back_memory_mapped(
    temporal: Split, leave_one_out: Split, tmp_path: Path
) -> None:
    for number, split in enumerate((temporal, leave_one_out)):
        split.save(tmp_path / f"{number}")
        back = Split.load(tmp_path / f"{number}")
        names = ("offsets", "items", "rows", "train_end", "vocabulary", "train_counts", "times")
        columns = [(getattr(back, name), getattr(split, name)) for name in names]
        columns += [
            *zip(back.val, split.val, strict=True),
            *zip(back.test, split.test, strict=True),
        ]
        for mapped, array in columns:
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
        {"val_from": 0.7}, {"test_from": 0.95}, {"targets": "all"}, {"drop_repeats": True}, {"val_users": 7},
        {"val_seed": 1}, {"candidates": Candidates()}, {"nested": True}, {"new_users": True},
        {"seen": "keep"}, {"seen_targets": "miss"}, {"drop_doubled": True},
    ],
)  # fmt: skip
def test_each_setting_changes_the_hash(change: dict[str, Any]) -> None:
    assert replace(Temporal(), **change).hash() != Temporal().hash() == replace(Temporal()).hash()
    if hasattr(LeaveOneOut(), next(iter(change))):
        assert replace(LeaveOneOut(), **change).hash() != LeaveOneOut().hash()


def test_protocols_differ_in_their_hash() -> None:
    assert LeaveOneOut().hash() != Temporal().hash()


def test_every_choice_in_conf_has_a_hash_of_its_own() -> None:
    names = config.choices("protocol")
    composed = [config.compose([f"protocol={name}"]).protocol for name in names]
    hashes = {config.build("protocol", cfg).hash() for cfg in composed}
    assert len(hashes) == len(names) > 2


def test_settings_that_came_later_leave_the_hashes_of_old_runs() -> None:
    # Runs under experiments/ carry these.
    assert LeaveOneOut().hash() == (
        "64a3f4d89644e2da01d721bade60ab120a2baf6481dfacc214c756348d3adf98"
    )
    assert Temporal().hash() == ("d8dff234389cdd3c353ed1b757a748ea4f869f4aac03f08a7a6a5b3a8a7c9bc8")


def test_the_record_tells_of_each_setting_that_is_not_the_default() -> None:
    sampled = LeaveOneOut(candidates=Candidates(99, "uniform", 4), val_users=0, others_train=True)
    told = sampled.settings()
    assert told["candidates"] == {"number": 99, "by": "uniform", "seed": 4}
    assert (told["val_users"], told["others_train"]) == (0, True)
    hashes = {
        LeaveOneOut(candidates=candidates).hash()
        for candidates in (None, Candidates(), Candidates(99), Candidates(by="uniform"))
    }
    assert len(hashes) == 4


def test_candidates_come_from_yaml_and_a_slip_is_named() -> None:
    node = {"_target_": "lightning_rec.data.splits.LeaveOneOut"}
    given = {"number": 99, "by": "uniform", "seed": 1}
    assert config.build("protocol", node | {"candidates": given}).candidates == Candidates(
        99, "uniform", 1
    )
    for wrong, words in (
        ({"number": 0}, "greater than 0"),
        ({"by": "rank"}, "'popular' or 'uniform'"),
        ({"count": 3}, "Unexpected keyword"),
    ):
        with pytest.raises(UserError, match=rf"protocol\.candidates.*{words}"):
            config.build("protocol", node | {"candidates": wrong})


def test_others_can_only_train_where_there_are_others() -> None:
    with pytest.raises(UserError, match=r"others_train=true.*val_users=null"):
        LeaveOneOut(others_train=True)


def test_without_validation_the_split_is_saved_loaded_and_audited(
    interactions: Interactions, tmp_path: Path
) -> None:
    protocol = LeaveOneOut(cutoffs=(1,), val_users=0, others_train=True, seen_targets="miss")
    protocol.split(interactions).save(tmp_path / "split")
    split = Split.load(tmp_path / "split")
    facts = audit(interactions, split)
    assert split.val.size == split.counts["val targets"] == facts["val targets seen before"] == 0
    assert split.test.size == 58
    assert facts["train events"] == interactions.info["events"] - 58


def test_validation_users_do_not_move_the_test(interactions: Interactions) -> None:
    whole, some, none = (
        LeaveOneOut(cutoffs=(1,), val_users=number, seen_targets="miss").split(interactions)
        for number in (None, 9, 0)
    )
    assert (whole.val.size, some.val.size, none.val.size) == (58, 9, 0)
    assert set(some.val.row.tolist()) < set(whole.val.row.tolist())
    for split in (some, none):
        assert np.array_equal(split.test.row, whole.test.row)
        assert np.array_equal(split.train_end, whole.train_end)  # S4: the others' do not train


def test_events_at_the_very_cut_lie_before_it_when_nested(prepared: Prepare) -> None:
    # Nine of twelve events at one moment, which is the .7 quantile.
    time = [1, *[5] * 9, 8, 9]
    log = {"user": list("abababababab"), "item": list("xyzwyxwzxyzw"), "time": time}
    events, _ = filtered(prepared(**log), None, 0, 0, drop_repeats=False)
    after = Temporal(val_from=0.01, test_from=0.7).choose(events)
    before = Temporal(val_from=0.9, test_from=0.7, nested=True).choose(events)
    assert (after.boundaries, after.train.sum()) == ((5, 5), 1)
    assert (before.boundaries, before.train.sum()) == ((6, 8), 10)


def test_users_of_one_early_event_do_not_move_the_nested_cut(prepared: Prepare) -> None:
    # Users c to f come once before the test, early on; theirs would be four of the ten times.
    log = {
        "user": list("cdefababababcdefa"),
        "item": list("wwwwxyzxyzxywwwww"),
        "time": [1, 1, 1, 1, *range(10, 18), *[20] * 5],
    }
    events, _ = filtered(prepared(**log), None, 0, 0, drop_repeats=False)
    split = Temporal(val_from=0.5, test_from=0.7, nested=True).choose(events)
    assert split.boundaries == (14, 20)  # the median of 10 to 17, not of those and four ones


def test_new_users_have_targets_from_the_second_event_with_a_known_history(
    prepared: Prepare,
) -> None:
    log = {
        "user": list("aaabbbccca"),
        "item": list("xyzNxzxNyx"),  # b begins with an item that nobody trains on
        "time": [1, 2, 3, 7, 8, 9, 7, 8, 9, 10],
    }
    options: dict[str, Any] = {
        "cutoffs": (1,), "val_from": 0.3, "test_from": 0.4, "val_users": 0, "seen": "keep",
    }  # fmt: skip
    data = prepared(**log)
    old = Temporal(targets="all", **options).split(data)
    new = Temporal(targets="all", new_users=True, **options).split(data)
    assert [(user, row) for user, _, _, row in told(old, data).test] == [("a", 9)]
    assert told(new, data).test == [
        ("b", ["x"], "z", 5),
        ("c", ["x"], None, 7),
        ("c", ["x"], "y", 8),
        ("a", ["x", "y", "z"], "x", 9),
    ]
    audit(data, new)


def test_new_items_are_in_no_history_and_can_be_ranked(interactions: Interactions) -> None:
    made = LeaveOneOut(cutoffs=(1, 5, 10), new_items=0.25, cold_targets="rank").split(interactions)
    audit(interactions, made)
    cold = np.arange(made.num_trained, made.num_items)
    assert made.num_trained == 30
    assert made.num_items == 40
    assert not made.train_counts[cold].any()
    trained = np.concatenate(
        [made.items[a:b] for a, b in zip(made.offsets[:-1], made.train_end, strict=True)]
    )
    assert not np.isin(trained, cold).any()
    assert np.isin(made.test.target, cold).sum() == made.counts["cold test targets"] > 0
    missed = LeaveOneOut(cutoffs=(1, 5, 10), new_items=0.25).split(interactions)
    assert missed.num_items == 30
    assert (missed.test.target < 0).sum() == made.counts["cold test targets"]
    assert missed.test.size == made.test.size
    other = LeaveOneOut(cutoffs=(1, 5, 10), new_items=0.25, new_items_seed=1).split(interactions)
    assert not np.array_equal(other.vocabulary, missed.vocabulary)


@pytest.mark.parametrize("more", [{}, {"cutoffs": (1,)}, {"cold_targets": "exclude"}])
def test_new_items_that_leave_nothing_are_named(interactions: Interactions, more: Any) -> None:
    with pytest.raises(UserError, match=r"protocol\.new_items=0\.999 keeps too many items out"):
        LeaveOneOut(new_items=0.999, **more).split(interactions)
    with pytest.raises(UserError, match="user_core=999"):
        LeaveOneOut(new_items=0.999, user_core=999).split(interactions)


def test_protocols_without_new_items_keep_their_hash() -> None:
    assert "new_items" not in LeaveOneOut().settings()
    assert LeaveOneOut(new_items=0.1).hash() != LeaveOneOut().hash()
