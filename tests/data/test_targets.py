"""Repeats, copies, cold items and new users under every protocol and word, beside plain Python.

What is compared: which targets there are, how many were left out for what, and the figures.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch

from lightning_rec.data.audit import audit
from lightning_rec.data.batches import EvalSet
from lightning_rec.data.core.audited import Audited
from lightning_rec.data.given import Given
from lightning_rec.data.pipeline import SplitLog
from lightning_rec.data.prepare import prepare
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.random_items import RandomItems
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Schema, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import UserError
from lightning_rec.metrics.ranking import RankingMetrics
from lightning_rec.models.classic.popularity import Popularity
from lightning_rec.problems.sequence_tables import metrics_of
from lightning_rec.retrieval.exact import ModelRetriever, Pairs

CUTOFFS = (1, 3)
PICKED = {"first": slice(0, 1), "last": slice(-1, None), "all": slice(None)}


class Event(NamedTuple):
    user: str
    item: str
    time: int
    part: int  # of a log that comes split


class Asked(NamedTuple):
    """A target, and the events of its user before it."""

    event: Event
    before: list[Event]


SplitAssignment = tuple[list[Event], list[Asked], list[Asked]]  # training, validation, test


def small_log(seed: int) -> list[Event]:
    """Some 150 events of 14 users; items that come late, rows twice, items said again, new users."""
    chance, events = random.Random(seed), []
    for user in range(14):
        time = 1000 + (60 if user > 11 else chance.randrange(30))  # the last two come late
        before = ""
        for _ in range(chance.randint(6, 11)):
            time += chance.choice([0, 3, 9])
            late = time > 1050 and chance.random() < 0.4
            item = f"new{chance.randrange(25)}" if late else f"i{int(9 * chance.random() ** 1.5)}"
            item = before if before and chance.random() < 0.25 else item
            before = item
            part = (time > 1045) + (time > 1062)
            events += [Event(f"u{user:02}", item, time, part)] * (2 if chance.random() < 0.2 else 1)
    return events


def by_user(events: list[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: event.time):
        found.setdefault(event.user, []).append(event)
    return found


def asked(own: list[Event], places: Iterator[int] | range | list[int]) -> list[Asked]:
    return [Asked(own[place], own[:place]) for place in places]


def last_two(events: list[Event], _: SplitProtocol) -> SplitAssignment:
    train, val, test = [], [], []
    for own in by_user(events).values():
        number = len(own)
        train += own[:-2] if number > 2 else own
        val += asked(own, [number - 2] if number > 2 else [])
        test += asked(own, [number - 1] if number > 2 else [])
    return train, val, test


def by_time(events: list[Event], protocol: SplitProtocol) -> SplitAssignment:
    assert isinstance(protocol, Temporal)
    times = sorted(event.time for event in events)
    shares = (protocol.val_from, protocol.test_from)
    cuts = [times[math.ceil(float(share) * (len(times) - 1))] for share in shares]
    found: SplitAssignment = ([], [], [])
    for own in by_user(events).values():
        stage = [sum(event.time >= cut for cut in cuts) for event in own]
        found[0].extend(event for event, number in zip(own, stage, strict=True) if not number)
        begins = 1 if protocol.new_users else 0 if 0 in stage else len(own)
        for number in (1, 2):
            places = [p for p in range(begins, len(own)) if stage[p] == number]
            found[number].extend(asked(own, places[PICKED[protocol.targets]]))
    return found


def as_given(events: list[Event], protocol: SplitProtocol) -> SplitAssignment:
    assert isinstance(protocol, Given)
    found: SplitAssignment = ([], [], [])
    for own in by_user(events).values():
        own = sorted(own, key=lambda event: event.part)
        found[0].extend(event for event in own if event.part == 0)
        for number in (1, 2):
            inside = [event for event in own if event.part == number]
            before = [event for event in own if event.part < number]
            together = protocol.successive is not False  # None, as there are times
            made = [Asked(e, before + inside[:p] * together) for p, e in enumerate(inside)]
            found[number].extend(made[PICKED[protocol.targets]])
    return found


def by_session(events: list[Event], protocol: SplitProtocol) -> SplitAssignment:
    assert isinstance(protocol, Sessions)
    sessions = {user: own for user, own in by_user(events).items() if len(own) >= 2}
    ends = sorted(own[-1].time for own in sessions.values())
    shares = (float(protocol.val_from or 0), float(protocol.test_from or 0))
    cuts = [ends[math.ceil(share * (len(ends) - 1))] for share in shares]
    found: SplitAssignment = ([], [], [])
    for own in sessions.values():
        number = sum(own[-1].time >= cut for cut in cuts)
        if number:
            found[number].extend(asked(own, range(1, len(own))))
        else:
            found[0].extend(own)
    return found


def splitmix(seed: int, place: int) -> int:
    word = (seed + (place + 1) * 0x9E3779B97F4A7C15) % 2**64
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


def at_random(events: list[Event], protocol: SplitProtocol) -> SplitAssignment:
    assert isinstance(protocol, RandomItems)
    users, items = (sorted({event[key] for event in events}) for key in (0, 1))
    found: SplitAssignment = ([], [], [])
    for user, own in by_user(events).items():
        stream = splitmix(protocol.seed, users.index(user))
        order = sorted(
            {event.item for event in own}, key=lambda item: splitmix(stream, items.index(item))
        )
        number = len(order)
        tested = max(int(protocol.test * number + 1e-9), number > 1)
        held = max(int(protocol.val * number + 1e-9), number - tested > 1)
        starts = (0, number - tested - held, number - tested, number)
        dealt = [order[a:b] for a, b in pairwise(starts)]
        found[0].extend(event for event in own if event.item in dealt[0])
        for stage in (1, 2):
            earlier = {item for part in dealt[:stage] for item in part}
            before = [event for event in own if event.item in earlier]
            first = {event.item: event for event in reversed(own)}
            found[stage].extend(Asked(first[item], before) for item in dealt[stage])  # type: ignore[misc]
    return found


class Wanted(NamedTuple):
    """Of one stage: users and items that are tested, counts of the others, and the figures."""

    targets: Counter[tuple[str, str]]
    counts: dict[str, int]
    figures: dict[str, float]


def wanted(
    stage: list[Asked], train: list[Event], catalogue: set[str], rule: SplitProtocol
) -> Wanted:
    trained = Counter(event.item for event in train)
    known = catalogue if rule.cold_targets == "rank" else set(trained)
    counts: Counter[str] = Counter()
    targets: Counter[tuple[str, str]] = Counter()
    sums: defaultdict[str, float] = defaultdict(float)
    for event, before in stage:
        history = {each.item for each in before} & known
        if not history:
            counts["lone"] += 1
            continue
        cold = event.item not in trained
        if cold and rule.cold_targets == "exclude":
            counts["cold"] += 1
            continue
        seen = any(each.item == event.item for each in before)
        copy = any((each.item, each.time) == (event.item, event.time) for each in before)
        counts["seen"] += seen
        counts["doubled"] += copy
        barred = seen if rule.seen == "filter" else copy
        if barred and (rule.seen == "keep" or rule.seen_targets == "exclude"):
            continue
        counts["cold"] += cold and not barred
        targets[event.user, event.item] += 1
        candidates = known - history if rule.seen == "filter" else known
        if barred or event.item not in candidates:
            continue
        rank = sum(trained[item] >= trained[event.item] for item in candidates)
        sums["mrr"] += 1 / rank
        sums["auc"] += (len(candidates) - rank) / (len(candidates) - 1)
        for k in (k for k in CUTOFFS if rank <= k):
            sums[f"recall@{k}"] += 1
            sums[f"ndcg@{k}"] += 1 / math.log2(rank + 1)
    names = ["mrr", "auc", *(f"{kind}@{k}" for kind in ("recall", "ndcg") for k in CUTOFFS)]
    number = targets.total()
    return Wanted(targets, dict(counts), {name: sums[name] / max(1, number) for name in names})


def figures_of(
    split: Split, data: Interactions, rule: SplitProtocol, stage: str
) -> dict[str, float]:
    """By popularity, through the metrics that a run makes."""
    model = Popularity(Schema(split.num_items, 20, split.num_users))
    model.fit(split)
    examples = split.val if stage == "val" else split.test
    batch = EvalSet(split, examples, model.schema).__getitems__(list(range(examples.size)))
    targets = Pairs(torch.arange(examples.size), batch.target)
    seen = Pairs(batch.seen_row, batch.seen_item)
    loaded = Audited("log", "", SplitLog(data, split), {}, {}, True)
    measured = RankingMetrics.of_config(None)
    metrics = metrics_of(rule, loaded, measured)["metrics"][stage]
    found = ModelRetriever(model).top(torch.ones(examples.size, 1), max(CUTOFFS), targets, seen)
    metrics.update(batch.example, found.rank, found.candidates, found.items)
    return {name: float(value) for name, value in metrics.compute().items()}


Deal = Callable[[list[Event], SplitProtocol], SplitAssignment]
PROTOCOLS: dict[str, tuple[SplitProtocol, Deal]] = {
    "leave_one_out": (LeaveOneOut(cutoffs=CUTOFFS), last_two),
    "temporal first": (Temporal(cutoffs=CUTOFFS, val_from=0.5, test_from=0.7), by_time),
    "temporal all": (
        Temporal(cutoffs=CUTOFFS, val_from=0.5, test_from=0.7, targets="all", new_users=True),
        by_time,
    ),
    "temporal last": (
        Temporal(cutoffs=CUTOFFS, val_from=0.5, test_from=0.7, targets="last", new_users=True),
        by_time,
    ),
    "given": (Given(cutoffs=CUTOFFS), as_given),
    "sessions": (Sessions(cutoffs=CUTOFFS, val_from=0.5, test_from=0.7), by_session),
    "random_items": (RandomItems(cutoffs=CUTOFFS, val=0.2, test=0.3, seed=3), at_random),
}
SEEN = [("filter", "exclude"), ("filter", "miss"), ("keep", "exclude")]
WORDS = list(product(SEEN, ("miss", "exclude", "rank"), (False, True)))


def read(events: list[Event], name: str, folder: Path, *, timed: bool = True) -> Interactions:
    """The log, its events of equal times in the order of the list, as one file or split."""
    frame = pl.DataFrame(events, schema=["user", "item", "time", "part"], orient="row")
    parts = [frame.filter(part=part) for part in range(3)] if name == "given" else [frame]
    roles = {"user": "user", "item": "item"} | ({"time": "time"} if timed else {})
    for key, part in zip(("path", "val", "test"), parts, strict=False):
        roles[key] = str(folder / f"{key}.csv")
        part.write_csv(roles[key])
    if name == "sessions":
        roles["session"] = roles.pop("user")
    return prepare(TableSource(**roles), folder / "cache")


def compared(
    events: list[Event], data: Interactions, rule: SplitProtocol, deal: Deal
) -> Counter[str]:
    """Assert that a split is what plain Python makes; the counts of targets, by kind."""
    users, items = data.users["user"], data.items["item"]
    train, *stages = deal(events, rule)
    answers = [wanted(stage, train, set(items), rule) for stage in stages]
    met: Counter[str] = Counter()
    if not all(answer.targets for answer in answers):
        with pytest.raises(UserError, match="targets"):
            rule.split(data)
        return met
    split = rule.split(data)
    audit(data, split)
    assert split.counts["train events"] == len(train)
    both = (("val", split.val), ("test", split.test))
    for (stage, examples), expected in zip(both, answers, strict=True):
        rows = data.events.collect()[examples.row.tolist()]
        pairs = zip(users.gather(rows["user"]), items.gather(rows["item"]), strict=True)
        assert Counter(pairs) == expected.targets, rule
        told = {kind: f"{kind} {stage} targets" for kind in ("cold", "seen", "doubled")}
        told["lone"] = f"{stage} targets without a history"
        counts = {kind: split.counts[key] for kind, key in told.items()}
        assert counts == dict.fromkeys(told, 0) | expected.counts, rule
        figures = figures_of(split, data, rule, stage)
        found = {metric: figures[metric] for metric in expected.figures}
        assert found == pytest.approx(expected.figures, abs=1e-12), rule
        if stage == "test":
            assert figures["cold/examples"] == counts["cold"] * (rule.cold_targets != "exclude")
        met.update({kind: number for kind, number in counts.items() if number})
    return met


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", PROTOCOLS)
def test_targets_counts_and_figures_are_the_oracles(name: str, seed: int, tmp_path: Path) -> None:
    events = small_log(seed)
    protocol, deal = PROTOCOLS[name]
    data = protocol.view(read(events, name, tmp_path))
    met: Counter[str] = Counter()
    for (seen, seen_targets), cold, once in WORDS:
        rule = replace(
            protocol, seen=seen, seen_targets=seen_targets, cold_targets=cold, drop_doubled=once
        )
        met += compared(list(dict.fromkeys(events)) if once else events, data, rule, deal)
    assert met["cold"]
    assert met["seen"] or name == "random_items"  # each user's items stand in one part
    assert met["doubled"] or name in ("random_items", "temporal first")


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("successive", [None, True, False])
@pytest.mark.parametrize("targets", PICKED)
def test_a_part_that_came_split_is_a_sequence_or_a_set(
    targets: Any, successive: bool | None, timed: bool, tmp_path: Path
) -> None:
    events = small_log(0)
    data = read(events, "given", tmp_path, timed=timed)
    if not timed:  # no two events are copies then, and their order is that of the rows
        events = [event._replace(time=place) for place, event in enumerate(events)]

    def assign(kept: list[Event], rule: SplitProtocol) -> SplitAssignment:
        assert isinstance(rule, Given)
        return as_given(kept, replace(rule, successive=timed if successive is None else successive))

    for (seen, seen_targets), cold in product(SEEN, ("miss", "exclude", "rank")):
        words = {"seen": seen, "seen_targets": seen_targets, "cold_targets": cold}
        rule = Given(cutoffs=CUTOFFS, targets=targets, successive=successive, **words)
        assert compared(events, data, rule, assign)
