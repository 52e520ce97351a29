"""Logs with repeats, through the command line: told before training, and measured honestly."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.data.schema import Interactions
from lightning_rec.data.splits import LeaveOneOut
from lightning_rec.runs.folder import RunFolder

Refused = Callable[..., str]
USERS, OWN, EVENTS, ITEMS = 80, 10, 18, 60


@pytest.fixture(scope="module")
def habits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each event is drawn from the user's own ten items, all alike: nobody can do better than .1."""
    chance = random.Random(4)
    rows = []
    for user in range(USERS):
        own = chance.sample(range(ITEMS), OWN)
        rows += [(f"u{user}", f"i{chance.choice(own)}", 1_000 * at + user) for at in range(EVENTS)]
    path = tmp_path_factory.mktemp("habits") / "habits.csv"
    pl.DataFrame(rows, schema=["user", "item", "ts"], orient="row").write_csv(path)
    return path


def arguments(path: Path, run: Path, *more: str) -> list[str]:
    return [
        "train", "data=table", f"data.path={path}", "data.user=user", "data.item=item", "data.time=ts",
        "model=itemknn", "protocol.cutoffs=[1,5,10]", "trainer=cpu", "logger=none", f"run_dir={run}", *more,
    ]  # fmt: skip


def trained(path: Path, run: Path, *more: str) -> tuple[dict[str, Any], dict[str, float], str]:
    """The card, the figures and the log of a run."""
    assert cli.run(arguments(path, run, *more)) == 0
    card, figures = (json.loads((run / f"{name}.json").read_text()) for name in ("run", "metrics"))
    return card, figures, " ".join((run / "train.log").read_text().split())


def test_what_was_seen_before_is_not_told_by_being_the_only_seen_candidate(
    habits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card, _, log = trained(habits, tmp_path / "filter")
    counts, seen = card["split"], card["split"]["seen test targets"]
    assert counts["test targets"] == USERS - seen < 20
    assert card["audit"]["test targets seen before"] == 0
    assert (card["protocol"]["seen"], card["protocol"]["seen_targets"]) == ("filter", "exclude")
    assert f"{seen} of {USERS} ({seen / USERS:.1%}) test targets were seen before" in log
    assert "protocol.seen=keep" in log
    assert "Full ranking, seen items filtered" in " ".join(capfd.readouterr().out.split())
    missed, low, _ = trained(habits, tmp_path / "miss", "protocol.seen_targets=miss")
    assert low["test/recall@10"] <= 1 - seen / USERS
    assert low["test/seen/recall@10"] == 0
    assert low["test/seen/examples"] == seen
    kept, high, log = trained(habits, tmp_path / "keep", "protocol.seen=keep")
    assert kept["split"]["test targets"] == USERS
    assert high["test/recall@1"] < 0.25  # .592 where the target was the only seen candidate
    assert high["test/recall@10"] > 0.3  # seen items are among the candidates
    assert "were seen before" not in log
    out = " ".join(capfd.readouterr().out.split())
    assert "Full ranking, seen items among the candidates" in out
    users = pl.read_parquet(tmp_path / "keep" / "test_users.parquet")
    assert users["candidates"].unique().to_list() == [ITEMS]
    assert users["seen"].sum() == seen
    assert len({each["protocol_hash"] for each in (card, missed, kept)}) == 3
    assert cli.run(["evaluate", f"run={tmp_path / 'keep'}"]) == 0


def test_a_run_of_before_does_not_compare(habits: Path, tmp_path: Path, refused: Refused) -> None:
    run = tmp_path / "run"
    card, _, _ = trained(habits, run)
    before = LeaveOneOut(cutoffs=(1, 5, 10)).hash()  # recorded while the target stayed in
    assert before != card["protocol_hash"]
    RunFolder.open(run).note(protocol_hash=before)
    assert "protocol_hash" in refused("evaluate", f"run={run}")


def test_doubled_rows_are_told_dropped_and_never_measured_as_hits(
    log_frame: pl.DataFrame, tmp_path: Path, refused: Refused
) -> None:
    log = log_frame.select(user="uid", item="sku", ts="ts").unique(maintain_order=True)
    doubled, clean = tmp_path / "doubled.csv", tmp_path / "clean.csv"
    pl.concat([log, log]).write_csv(doubled)
    log.write_csv(clean)
    for more in ([], ["protocol.seen=keep"]):
        sentence = refused(*arguments(doubled, tmp_path / f"run{len(more)}", *more))
        assert "leaves no test targets" in sentence
        assert "are copies of an event in their own history" in sentence
        assert "protocol.drop_doubled=true" in sentence
    some = tmp_path / "some.csv"
    pl.concat([log, log.gather_every(5)]).write_csv(some)
    _, _, told = trained(some, tmp_path / "some")
    assert "events are copies of another one, alike in user, item and time" in told
    card, figures, told = trained(doubled, tmp_path / "dropped", "protocol.drop_doubled=true")
    assert "copies" not in told
    assert card["split"]["doubled rows"] == 0
    _, wanted, _ = trained(clean, tmp_path / "clean")
    assert figures == wanted


def test_items_said_twice_are_told_where_seen_items_are_kept(
    prepared: Callable[..., Interactions],
) -> None:
    rows = [(f"u{user}", f"i{item}") for user in range(9) for item in range(user, user + 6)]
    user, item = map(list, zip(*rows, strict=True))

    def notes(**columns: list[Any]) -> str:
        return " ".join(LeaveOneOut(cutoffs=(1,), seen="keep").split(prepared(**columns)).notes)

    again = [each for each in rows for _ in range(2)]
    twice = dict(zip(("user", "item"), map(list, zip(*again, strict=True)), strict=True))
    told = notes(**twice, time=list(range(len(again))))
    assert "54 of 108 (50.0%) events repeat the item of their user's event before: to say" in told
    assert "protocol.drop_repeats=true" in told
    told = notes(**twice)
    assert "no times to tell whether they are copies of a row" in told
    told = notes(user=user * 2, item=item * 2)
    assert "54 of 108 (50.0%) events have the user and the item of an earlier one" in told
    assert "as in a file that was written twice" in told
    for quiet in ({"time": list(range(len(rows)))}, {}):
        assert "earlier one" not in (told := notes(user=user, item=item, **quiet))
        assert "repeat the item" not in told


def test_rows_sorted_by_weight_are_told(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [
        (f"u{u}", f"i{i}", chance.randint(1, 99))
        for u in range(30)
        for i in chance.sample(range(25), 9)
    ]
    path = tmp_path / "plays.csv"
    frame = pl.DataFrame(rows, schema=["user", "item", "plays"], orient="row")
    frame.sort("user", "plays", descending=[False, True]).write_csv(path)
    line = [each for each in arguments(path, tmp_path / "run") if each != "data.time=ts"]
    assert cli.run([*line, "data.rating=plays"]) == 0
    told = " ".join((tmp_path / "run" / "train.log").read_text().split())
    assert "the order of the rows is taken as the order of time" in told
    assert "sorted by data.rating, which falls" in told
    assert "protocol=random_items" in told
