"""The audit can fail: each test spoils a good split in one way, and the audit names that way."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightning_rec.data.audit import audit
from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.schema import Interactions
from lightning_rec.data.split import Examples, Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import LeakError

K = (1, 5)
PROTOCOLS: list[SplitProtocol] = [
    LeaveOneOut(cutoffs=K),
    LeaveOneOut(cutoffs=K, min_rating=2, user_core=5, item_core=5, cold_targets="exclude"),
    *(
        Temporal(cutoffs=K, targets=targets, cold_targets=cold)
        for targets in ("first", "last", "all")
        for cold in ("miss", "exclude")
    ),
    Temporal(cutoffs=K, val_from=0.5, test_from=0.6, min_rating=3, item_core=3),
    LeaveOneOut(cutoffs=K, val_users=20, others_train=True),
    LeaveOneOut(cutoffs=K, val_users=0, others_train=True, drop_repeats=True),
    Temporal(cutoffs=K, val_users=0),
    Temporal(cutoffs=K, nested=True, new_users=True, targets="all", drop_repeats=True),
    LeaveOneOut(cutoffs=K, seen="keep"),
    LeaveOneOut(cutoffs=K, seen_targets="miss", drop_doubled=True),
    Temporal(cutoffs=K, seen="keep", targets="all"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clean_splits_pass(protocol: SplitProtocol, interactions: Interactions) -> None:
    split = protocol.split(interactions)
    facts = audit(interactions, split)
    assert facts["train events"] == split.counts["train events"]
    if isinstance(protocol, Temporal):
        assert facts["share of training after the first test target"] == 0
    else:
        assert 0 < facts["share of training after the first test target"] < 1


def test_a_log_without_times_passes(prepared: Callable[..., Interactions]) -> None:
    data = prepared(user=list("aaaabbbb"), item=list("wxyzzyxw"))
    facts = audit(data, LeaveOneOut(cutoffs=(1,)).split(data))
    assert "share of training after the first test target" not in facts


def test_a_leak_is_named_where_there_is_no_validation(interactions: Interactions) -> None:
    split = LeaveOneOut(cutoffs=K, val_users=0, others_train=True).split(interactions)
    with pytest.raises(LeakError, match="a test target is trained on"):
        audit(interactions, trains_on_test(split))


def test_a_validation_target_that_trains_with_the_others_is_named(
    interactions: Interactions,
) -> None:
    split = LeaveOneOut(cutoffs=K, val_users=20, others_train=True).split(interactions)
    with pytest.raises(LeakError, match="a validation target is trained on"):
        audit(interactions, trains_on_val(split))


def test_repeats_are_counted(prepared: Callable[..., Interactions]) -> None:
    data = prepared(user=list("aaaabbbb"), item=list("xyyxyzxz"))  # y again, x again; b: z again
    for word in ({"seen": "keep"}, {"seen_targets": "miss"}):
        split = LeaveOneOut(cutoffs=(1,), **word).split(data)
        facts = audit(data, split)
        assert (facts["val targets seen before"], facts["test targets seen before"]) == (1, 2)
        assert (split.counts["seen val targets"], split.counts["seen test targets"]) == (1, 2)
        assert (split.counts["repeated events"], split.counts["consecutive repeats"]) == (3, 1)


def with_(array: NDArray[Any], at: int, value: int) -> NDArray[Any]:
    """A copy with one place changed."""
    copy = np.array(array)
    copy[at] = value
    return copy


def changed(examples: Examples, **columns: NDArray[Any]) -> Examples:
    return Examples(**(examples._asdict() | columns))


def swapped(array: NDArray[Any], a: int, b: int) -> NDArray[Any]:
    return with_(with_(array, a, array[b]), b, array[a])


def known(split: Split, examples: Examples) -> int:
    """The first example whose target has a code."""
    return int(np.flatnonzero(examples.target >= 0)[0])


def trains_twice(split: Split) -> Split:
    start = split.offsets[10]
    return replace(split, rows=with_(split.rows, start, split.rows[start + 1]))


def trains_on_val(split: Split) -> Split:
    user = split.val.user[known(split, split.val)]
    return replace(split, train_end=with_(split.train_end, user, split.train_end[user] + 1))


def trains_on_test(split: Split) -> Split:
    row = split.rows[split.offsets[split.test.user[0]]]
    return replace(split, test=changed(split.test, row=with_(split.test.row, 0, row)))


def val_in_test(split: Split) -> Split:
    user = split.val.user[0]
    at = int(np.flatnonzero(split.test.user == user)[0]) if user in split.test.user else 0
    return replace(split, test=changed(split.test, row=with_(split.test.row, at, split.val.row[0])))


def anothers_event(split: Split) -> Split:
    return replace(split, rows=swapped(split.rows, split.offsets[10], split.offsets[20]))


def anothers_item(split: Split) -> Split:
    return replace(split, items=with_(split.items, 5, (split.items[5] + 1) % split.num_items))


def vocabulary_too_large(split: Split) -> Split:
    return replace(
        split,
        vocabulary=np.append(split.vocabulary, 999),
        train_counts=np.append(split.train_counts, 0),
    )


def popularity_of_all(split: Split) -> Split:
    return replace(split, train_counts=np.bincount(split.items, minlength=split.num_items))


def target_of_another(split: Split) -> Split:
    user, row = split.test.user, split.test.row
    return replace(split, test=changed(split.test, row=swapped(row, 0, len(user) - 1)))


def target_code_of_another(split: Split) -> Split:
    at = known(split, split.test)
    wrong = (split.test.target[at] + 1) % split.num_items
    return replace(split, test=changed(split.test, target=with_(split.test.target, at, wrong)))


def warm_target_called_cold(split: Split) -> Split:
    at = known(split, split.val)
    return replace(split, val=changed(split.val, target=with_(split.val.target, at, -1)))


def history_too_long(split: Split) -> Split:
    end = split.offsets[split.test.user[3] + 1] + 1
    return replace(split, test=changed(split.test, end=with_(split.test.end, 3, end)))


def history_empty(split: Split) -> Split:
    return replace(
        split, val=changed(split.val, end=with_(split.val.end, 3, split.offsets[split.val.user[3]]))
    )


def history_with_target(split: Split) -> Split:
    at = known(split, split.test)
    return replace(
        split, test=changed(split.test, end=with_(split.test.end, at, split.test.end[at] + 1))
    )


def disorder(split: Split) -> Split:
    a, b = int(split.offsets[10]), int(split.offsets[10]) + 1
    return replace(split, rows=swapped(split.rows, a, b), items=swapped(split.items, a, b))


ANY = {
    "an event trains twice": trains_twice,
    "a validation target is trained on": trains_on_val,
    "a test target is trained on": trains_on_test,
    "a target is in validation and test": val_in_test,
    "an event belongs to another user": anothers_event,
    "an event carries another item": anothers_item,
    "the vocabulary is not the set of items seen in training": vocabulary_too_large,
    "popularity was not counted on training events alone": popularity_of_all,
    "a test target belongs to another user": target_of_another,
    "a test history reaches into another user": history_too_long,
    "a val history reaches into another user": history_empty,
    "a test history holds its own target or a later event": history_with_target,
    "events of a user are not in time order": disorder,
}


@pytest.mark.parametrize("check", ANY)
@pytest.mark.parametrize("protocol", ["leave_one_out", "temporal"])
def test_each_leak_is_named(
    check: str, protocol: str, interactions: Interactions, request: pytest.FixtureRequest
) -> None:
    split: Split = request.getfixturevalue(protocol)
    with pytest.raises(LeakError, match=f"^leak audit: {check}"):
        audit(interactions, ANY[check](split))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (target_code_of_another, "target carries another item"),
        (warm_target_called_cold, "target that could be ranked is not"),
    ],
)
def test_a_target_that_is_not_its_events_item_is_named(
    spoil: Callable[[Split], Split], words: str, interactions: Interactions, leave_one_out: Split
) -> None:
    with pytest.raises(LeakError, match=words):
        audit(interactions, spoil(leave_one_out))


def test_a_seen_target_among_the_candidates_is_named(interactions: Interactions) -> None:
    kept = LeaveOneOut(cutoffs=K, seen="keep").split(interactions)
    with pytest.raises(LeakError, match="val target is the only seen item that is ranked"):
        audit(interactions, replace(kept, seen="filter"))
    forgotten = changed(kept.test, seen=np.zeros_like(kept.test.seen))
    with pytest.raises(LeakError, match="wrongly said to be seen before, or new"):
        audit(interactions, replace(kept, test=forgotten))


def test_a_copy_among_the_targets_is_named(prepared: Callable[..., Interactions]) -> None:
    log = {
        "user": list("aaaabbbbb"),
        "item": list("wxyyywxzy"),
        "time": [1, 2, 3, 3, 1, 2, 3, 4, 5],
    }
    data = prepared(**log)
    kept = LeaveOneOut(cutoffs=(1,), seen="keep").split(data)
    missed = LeaveOneOut(cutoffs=(1,), seen_targets="miss").split(data)
    assert kept.counts["doubled test targets"] == kept.test.size == 1
    assert missed.counts["seen test targets"] == missed.test.size == 2
    ranked = changed(missed.test, target=np.repeat(kept.test.target, 2))  # y, twice
    with pytest.raises(LeakError, match="test target is the copy of an event in its history"):
        audit(data, replace(missed, test=ranked, seen="keep"))


@pytest.mark.parametrize(
    ("check", "early", "late"),
    [
        ("a training event lies after the boundary", -500, 0),
        ("a validation target lies outside its window", 0, -500),
        ("a test target lies before the boundary", 0, 500),
    ],
)
def test_each_leak_over_the_boundaries_is_named(
    check: str, early: int, late: int, interactions: Interactions, temporal: Split
) -> None:
    assert temporal.boundaries is not None
    val_from, test_from = temporal.boundaries
    with pytest.raises(LeakError, match=check):
        audit(interactions, replace(temporal, boundaries=(val_from + early, test_from + late)))
