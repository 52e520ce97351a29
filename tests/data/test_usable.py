"""Splits that leave nothing: what is said fits the protocol, and what it advises works."""

from collections.abc import Callable
from typing import Any

import pytest

from lightning_rec.data.protocol import SplitProtocol
from lightning_rec.data.random_items import RandomItems
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sessions import Sessions
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import UserError

Prepare = Callable[..., Interactions]
START = 1_600_000_000
K = (1,)


def comers(events: int = 3) -> dict[str, list[Any]]:
    """Forty users who come one after the other, with some events each of nine items."""
    rows = [(u, (u * 7 + n) % 9, START + 1000 * u + n) for u in range(40) for n in range(events)]
    user, item, time = map(list, zip(*rows, strict=True))
    return {"user": [f"u{u}" for u in user], "item": [f"i{i}" for i in item], "time": time}


def refused(protocol: SplitProtocol, data: Interactions) -> str:
    with pytest.raises(UserError) as error:
        protocol.split(data)
    return str(error.value)


@pytest.mark.parametrize(
    ("cuts", "shown"),
    [
        ({}, "protocol.val_from is 2020-09-13T"),
        ({"val_from": "2020-09-13T18:00", "test_from": "2020-09-13T20:00"}, "13T18:00:00Z and"),
    ],
)
def test_a_cut_that_leaves_nobody_points_to_the_cuts_and_to_new_users(
    cuts: dict[str, Any], shown: str, prepared: Prepare
) -> None:
    data = prepared(**comers())
    said = refused(Temporal(cutoffs=K, **cuts), data)
    assert "leaves no validation targets (events read: 120, users: 40, train events: " in said
    assert shown in said
    assert "the times go from 2020-09-13T12:26:40Z to 2020-09-13T23:16:42Z. Move the cuts" in said
    assert "protocol.new_users=true" in said
    assert "repeat" not in said
    assert Temporal(cutoffs=K, new_users=True, **cuts).split(data).test.size


def test_new_users_are_not_offered_where_nothing_trains(prepared: Prepare) -> None:
    said = refused(Temporal(cutoffs=K), prepared(**comers() | {"time": [START] * 120}))
    assert "no event lies before them. Move the cuts." in said


def test_each_protocol_says_what_a_target_needs(prepared: Prepare) -> None:
    data = prepared(**comers(events=2))
    assert "A user needs three events" in refused(LeaveOneOut(cutoffs=K), data)
    said = refused(RandomItems(cutoffs=K), data)
    assert "three to validate as well, which protocol.val=0 goes without" in said
    assert RandomItems(cutoffs=K, val=0).split(data).test.size
    sessions = Sessions(cutoffs=K, gap=60, val_from=0.5, test_from=0.501)
    said = refused(sessions, sessions.view(data))
    assert "A session needs an item before its target" in said
    assert "Move the cuts" in said


def test_targets_that_are_all_cold_are_told(prepared: Prepare) -> None:
    log = comers()
    log["item"] = [item if n % 3 == 0 else f"{n}" for n, item in enumerate(log["item"])]
    data = prepared(**log)
    said = refused(LeaveOneOut(cutoffs=K, cold_targets="exclude"), data)
    assert "40 are of items without training events: protocol.cold_targets=miss counts them" in said
    assert LeaveOneOut(cutoffs=K).split(data).test.size


def test_cutoffs_that_are_too_long_come_with_ones_that_fit(prepared: Prepare) -> None:
    said = refused(LeaveOneOut(cutoffs=(1, 5, 20)), prepared(**comers()))
    assert "'protocol.cutoffs=[1,5]' monitor=val/ndcg@5" in said


def test_sessions_are_called_sessions(prepared: Prepare) -> None:
    log = comers(events=4)
    log["item"] = [log["item"][n - n % 2] for n in range(len(log["item"]))]
    protocol = Sessions(cutoffs=K, gap=60)
    told = " ".join(protocol.split(protocol.view(prepared(**log))).notes)
    assert "repeat the item of their session's event before" in told
    assert "user" not in told
