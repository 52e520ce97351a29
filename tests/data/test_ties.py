"""Events of one user at one moment: that their rows are sorted is told, and shuffling them helps."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.check import check_file
from lightning_rec.data.order import Ordering, ordering
from lightning_rec.data.pipeline import load
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.split import Split
from lightning_rec.data.splits import LeaveOneOut, Temporal
from lightning_rec.errors import UserError

DAY = 86_400
Row = tuple[int, str, str, float]  # time, user, item, rating
Key = Callable[[Row], Any]
SHELF = {f"{item}": shelf for shelf, item in enumerate(random.Random(1).sample(range(30), 30))}
SORTED: dict[str, tuple[Key, str]] = {
    "number": (lambda row: int(row[2]), "sorted by the ids of items, which rises in 100.0%"),
    "text": (lambda row: row[2], "sorted by the ids of items, which rises in 100.0%"),
    "rating": (lambda row: -row[3], "sorted by data.rating, which falls in 100.0%"),
    "shelf": (lambda row: SHELF[row[2]], "of two items that come one after the other again, the"),
}


def baskets(key: Key | None = None, *, step: int = 0) -> list[Row]:
    """Baskets of four of 30 items, drawn uniformly, a day each, as an export has them sorted.

    ``step`` are the seconds between the events of a basket.
    """
    chance = random.Random(0)
    rows = []
    for day in range(8):
        for user in range(60):
            drawn = chance.sample(range(30), 4)
            basket = [(day * DAY, f"u{user:02}", str(item), chance.random()) for item in drawn]
            basket = sorted(basket, key=key) if key else basket
            rows += [(row[0] + step * place, *row[1:]) for place, row in enumerate(basket)]
    return rows


def write(rows: list[Row], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame(rows, schema=["time", "user", "item", "rating"], orient="row")
    frame.with_columns(pl.col("time") + 1_700_006_400).write_csv(folder / "log.csv")
    return folder / "log.csv"


def source(rows: list[Row], folder: Path, **more: Any) -> TableSource:
    return TableSource(str(write(rows, folder)), "user", "item", "time", "rating", **more)


def looked(rows: list[Row], folder: Path, **more: Any) -> tuple[Interactions, Split, Ordering]:
    made = source(rows, folder, **more)
    data = prepare(made, folder / "cache")
    split = LeaveOneOut(cutoffs=(1,), seen="keep").split(data)
    return data, split, ordering(data, split, known=made.in_order, ties=made.ties)


def last_by(key: Key, data: Interactions, split: Split) -> float:
    """The share of test targets that come last of their moment by ``key``."""
    events = data.events.collect().with_columns(
        item=data.items["item"].gather(data.events.collect()["item"])
    )
    hits = []
    for row in split.test.row.tolist():
        user, stamp, item = (events[name][row] for name in ("user", "timestamp", "item"))
        there = events.filter((pl.col("user") == user) & (pl.col("timestamp") == stamp))
        own = zip(there["item"], there["rating"], strict=True)
        hits.append(max(own, key=lambda each: key((0, "", *each)))[0] == item)
    return float(np.mean(hits))


@pytest.mark.parametrize("name", SORTED)
def test_sorted_baskets_are_told_and_shuffling_takes_the_sign_away(
    name: str, tmp_path: Path
) -> None:
    key, said = SORTED[name]
    rows = baskets(key)
    data, split, found = looked(rows, tmp_path)
    assert last_by(key, data, split) == 1  # a model can tell what is asked for
    assert found.facts["share of steps whose order times do not tell"] == 0.7742  # 24 of 31
    assert found.facts["share of test targets at the moment of the event before"] == 1
    first, second = found.notes
    assert "100.0% of the test targets happened at the same moment as the event before" in first
    assert said in second
    assert all("data.ties=shuffle" in note for note in found.notes)
    data, split, found = looked(rows, tmp_path, ties="shuffle")
    assert last_by(key, data, split) == pytest.approx(0.25, abs=0.17)  # 60 users: three sigma
    assert not found.notes
    assert not ordering(data, split, known=False).notes  # nor is anything sorted
    assert found.facts["share of test targets at the moment of the event before"] == 1


def test_shuffled_ties_depend_on_ids_and_times_alone(tmp_path: Path) -> None:
    rows = baskets(lambda row: int(row[2]))
    rows += [(rows[0][0], rows[0][1], rows[0][2], 0.5)]  # twice at one time, rated otherwise
    hashes, orders = set(), set()
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        folder = tmp_path / str(seed)
        hashes.add(looked(rows, folder, ties="shuffle")[0].info["data_hash"])
        orders.add(looked(rows, folder)[0].info["data_hash"])
    assert len(hashes) == 1
    assert len(orders) == 3


def test_ties_that_say_nothing_are_not_called_sorted(tmp_path: Path) -> None:
    _, _, found = looked(baskets(), tmp_path)
    (note,) = found.notes
    assert "of the test targets happened at the same moment" in note
    assert not looked(baskets(SORTED["number"][0], step=60), tmp_path / "apart")[2].notes
    few = baskets(step=60)  # a few rows at one time, as most logs have
    few[1::124] = [(row[0] - 60, *row[1:]) for row in few[1::124]]
    assert not looked(few, tmp_path / "few")[2].notes


def test_lists_with_times_are_looked_at_too(tmp_path: Path) -> None:
    rows = baskets(SORTED["number"][0])
    frame = pl.DataFrame(rows, schema=["time", "user", "item", "rating"], orient="row")
    lists = frame.group_by("time", "user", maintain_order=True).agg(pl.col("item").str.join(" "))
    lists.with_columns(pl.col("time") + 1_700_006_400).write_csv(tmp_path / "lists.csv")
    made = TableSource(str(tmp_path / "lists.csv"), "user", "item", "time", form="lists")
    data = prepare(made, tmp_path / "cache")
    split = LeaveOneOut(cutoffs=(1,), seen="keep").split(data)
    (note,) = ordering(data, split, known=made.in_order, ties=made.ties).notes
    assert SORTED["number"][1] in note


@pytest.mark.parametrize("name", SORTED)
def test_the_check_explains_ties_and_proposes_what_helps(name: str, tmp_path: Path) -> None:
    path = write(baskets(SORTED[name][0]), tmp_path)
    report = check_file(path, user="user", item="item", time="time", rating="rating")
    told = "\n".join(report.warnings)
    assert "100.0% of the events happened at the very time of another one of their user" in told
    assert SORTED[name][1] in told
    assert "data.ties=shuffle" in told
    assert "data.ties=shuffle" in str(report.command)
    report = check_file(path, user="user", item="item", time="time", ties="shuffle")
    assert "ties in time" not in "\n".join(report.warnings)
    assert "data.ties=shuffle" in str(report.command)
    report = check_file(write(baskets(), tmp_path), user="user", item="item", time="time")
    assert "ties in time" in "\n".join(report.warnings)
    assert "data.ties" not in str(report.command)


def test_it_is_told_before_training_and_times_are_needed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = source(baskets(SORTED["number"][0]), tmp_path)
    load(made, Temporal(cutoffs=(1,), targets="all", seen="keep"), tmp_path / "cache")
    assert SORTED["number"][1] in caplog.text
    assert "of the test targets happened at the same moment" in caplog.text
    with pytest.raises(UserError, match=r"data\.ties=shuffle is about events of one time"):
        TableSource(str(made.paths["train"]), "user", "item", ties="shuffle")
