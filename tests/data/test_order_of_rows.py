"""Logs whose rows are in no order of time: told, and how they are sorted."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.data.candidates import Candidates
from lightning_rec.data.order import ordering
from lightning_rec.data.pipeline import load
from lightning_rec.data.random_items import RandomItems
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.splits import LeaveOneOut

Prepare = Callable[..., Interactions]


def plays(seed: int = 0) -> list[tuple[str, str, int]]:
    """(user, item, weight) of 20 users and 8 of 20 items, some more popular, in no order."""
    chance = random.Random(seed)
    return [
        (f"u{user}", f"i{item:02d}", chance.randint(1, 99))
        for user in range(20)
        for item in sorted(range(20), key=lambda item: chance.random() * (item + 4))[:8]
    ]


def columns(rows: list[tuple[str, str, int]], **more: list[Any]) -> dict[str, list[Any]]:
    user, item, rating = (list(column) for column in zip(*rows, strict=True))
    return {"user": user, "item": item, "rating": rating, **more}


def count(rows: list[tuple[str, str, int]], item: str) -> int:
    return sum(other == item for _, other, _ in rows)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda rows, row: -row[2], r"sorted by data\.rating, which falls in 100"),
        (lambda rows, row: row[2], r"sorted by data\.rating, which rises in 100"),
        (lambda rows, row: -count(rows, row[1]), "sorted by the popularity of items, which falls"),
        (lambda rows, row: row[1], "sorted by the ids of items, which rises"),
        (lambda rows, row: 0, None),
    ],
)
def test_the_order_of_rows_is_told_and_what_they_are_sorted_by(
    key: Callable[..., Any], said: str | None, prepared: Prepare
) -> None:
    rows = plays()
    rows = sorted(rows, key=lambda row: key(rows, row))
    data = prepared(**columns(rows))
    split = LeaveOneOut(cutoffs=(1,)).split(data)
    found = ordering(data, split, known=False)
    assert found.facts == {"share of steps whose order times do not tell": 1.0}
    assert "no times, so that the order of the rows" in found.notes[0]
    assert "data.time=COLUMN" in found.notes[0]
    assert "protocol=random_items" in found.notes[0]
    assert len(found.notes) == (2 if said else 1)
    if said:
        assert re.search(said, found.notes[1])
    assert not ordering(data, split, known=True).notes
    assert not ordering(data, RandomItems(cutoffs=(1,)).split(data), known=False).notes


def test_times_that_are_all_alike_are_none(prepared: Prepare) -> None:
    rows = sorted(plays(), key=lambda row: -row[2])
    alike = prepared(**columns(rows, time=[1_600_000_000] * len(rows)))
    split = LeaveOneOut(cutoffs=(1,)).split(alike)
    found = ordering(alike, split, known=False)
    assert "100.0% of the steps within users lie between equal times" in found.notes[0]
    assert "data.rating" in found.notes[1]
    apart = replace(split, times=split.rows * 60)
    assert not ordering(alike, apart, known=False).notes


@pytest.mark.parametrize(
    ("first", "step", "said"),
    [
        (1_600_000_000, 60, None),
        (15_322.5, 0.01, "160 of 160 times lie before 1995, the first of them on 1970-01-01"),
        (2019, 1, "160 of 160 times lie before 1995, the first of them on 1970-01-01"),
        (2_024_013_115, 1, "160 of 160 times lie in the future, the first of them on 2034-02-20"),
    ],
)
def test_times_that_no_log_has_are_told_before_training(
    first: float, step: float, said: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, rows = tmp_path / "log.parquet", plays()
    times = [first + step * place for place in range(len(rows))]
    pl.DataFrame(columns(rows, time=times)).write_parquet(path)
    load(TableSource(str(path), "user", "item", "time"), LeaveOneOut(cutoffs=(1,)), tmp_path)
    told = [line for line in caplog.messages if " times lie " in line]
    assert len(told) == (said is not None)
    assert all(line.startswith(str(said)) for line in told)


@pytest.mark.parametrize("number", [5, 20, 5000])
def test_a_sample_that_is_the_catalogue_is_told(
    number: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame(columns(plays())).write_parquet(path)
    protocol = LeaveOneOut(cutoffs=(1,), candidates=Candidates(number))
    split = load(TableSource(str(path), "user", "item"), protocol, tmp_path).data.split
    told = [line for line in caplog.messages if "protocol.candidates.number" in line]
    assert len(told) == (number >= split.num_trained)
