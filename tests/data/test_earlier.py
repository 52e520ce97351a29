"""The training part, split once more: which events are a ranker's targets, by hand; and its leaks, planted."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.audit import audit
from lightning_rec.data.earlier import audit_earlier
from lightning_rec.data.prepare import prepare
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import LeakError, UserError


def events(log: pl.DataFrame) -> dict[str, list[tuple[str, int]]]:
    """Item and time of each user's events, in order."""
    found = defaultdict(list)
    for user, item, time, _ in log.sort("ts", maintain_order=True).iter_rows():
        found[user].append((item, time))
    return found


def shown(data: Interactions, split: Split) -> dict[str, tuple[list[str], str]]:
    """History and target of each target of the test, by user."""
    users, items = data.users["user"].to_list(), data.items["item"].to_list()
    name = [items[code] for code in split.vocabulary]
    found = {}
    for user, end, target, *_ in zip(*split.test, strict=True):
        start = split.offsets[user]
        history = [name[code] for code in split.items[start:end]]
        found[users[user]] = (history, name[target] if target >= 0 else "")
    return found


def test_the_last_training_event_of_each_user_is_the_target(
    interactions: Interactions, log_frame: pl.DataFrame
) -> None:
    before = LeaveOneOut(cutoffs=(5,), earlier=True).split(interactions)
    audit(interactions, before)
    expected = {}
    for user, own in events(log_frame).items():
        train = [item for item, _ in own][:-2] if len(own) > 2 else [item for item, _ in own]
        if len(train) > 1 and train[-1] not in train[:-1]:
            expected[user] = (train[:-1], train[-1])
    assert len(expected) > 30
    assert shown(interactions, before) == expected
    assert not before.val.size
    assert not LeaveOneOut(earlier=True).validates
    assert LeaveOneOut().hash() != LeaveOneOut(earlier=True).hash()
    assert "earlier" not in LeaveOneOut().settings()  # or older runs lost their hash


def test_by_time_as_many_events_are_held_as_validation_has(
    interactions: Interactions, log_frame: pl.DataFrame
) -> None:
    rules = Temporal(val_from=0.6, test_from=0.8, cutoffs=(5,))
    whole, before = rules.split(interactions), replace(rules, earlier=True).split(interactions)
    audit(interactions, before)
    assert whole.boundaries is not None
    val_from, test_from = whole.boundaries
    times = sorted(time for own in events(log_frame).values() for _, time in own)
    held = sum(val_from <= time < test_from for time in times)
    cut = [time for time in times if time < val_from][-held]
    assert before.boundaries is not None
    assert [*before.boundaries] == [cut, cut]
    expected = {}
    for user, own in events(log_frame).items():
        train = [item for item, time in own if time < cut]
        later = [item for item, time in own if cut <= time < val_from]
        if train and later and later[0] not in train:
            expected[user] = (train, later[0])
    assert len(expected) > 20
    assert shown(interactions, before) == expected
    facts = audit_earlier(whole, before)
    assert facts["ranker targets"] == len(expected)


RULES: list[SplitProtocol] = [
    LeaveOneOut(cutoffs=(5,)),
    Temporal(val_from=0.6, test_from=0.8, cutoffs=(5,)),
]


@pytest.mark.parametrize("rules", RULES)
def test_planted_leaks_are_found(interactions: Interactions, rules: SplitProtocol) -> None:
    whole = rules.split(interactions)
    before = replace(rules, earlier=True).split(interactions)
    audit_earlier(whole, before)

    def found(split: Split, told: str) -> None:
        with pytest.raises(LeakError, match=told):
            audit_earlier(whole, split)

    knows = before.offsets[1:].copy()  # training goes on to the end of what is there
    found(replace(before, train_end=knows), "a retriever of the ranker is trained on its target")
    for part, name in ((whole.val, "validation"), (whole.test, "test")):
        row = np.asarray(before.test.row).copy()
        row[3] = part.row[0]
        told = f"a ranker's target is one of {name}"
        found(replace(before, test=before.test._replace(row=row)), told)
        rows = np.asarray(before.rows).copy()
        rows[5] = part.row[0]
        found(replace(before, rows=rows), f"a retriever of the ranker reads a target of {name}")
    found(whole, "a retriever of the ranker reads a target of validation")


def test_what_has_no_order_of_time_is_refused(log_csv: Path, tmp_path: Path) -> None:
    from lightning_rec.data.random_items import RandomItems

    data = prepare(TableSource(str(log_csv), user="uid", item="sku", time="ts"), tmp_path)
    with pytest.raises(UserError, match="use protocol=leave_one_out or temporal"):
        RandomItems(cutoffs=(5,), earlier=True).split(data)
