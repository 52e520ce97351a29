"""Whether somebody comes back: the label by a plain loop, what is not known yet, planted leaks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.pipeline import load_clicks
from lightning_rec.data.clicks.splits import RandomRows, RowProtocol, TemporalRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.shares import PARTS
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import LeakError, UserError

HOUR, SINCE = 3600, 1_700_000_000
GOALS = {"liked": Goal("liked"), "back": Goal(returns_within="7d", returns_after="12h")}
Made = tuple[ClickTable, Fields, Encoded]


def log(unit: int = 1) -> pl.DataFrame:
    """600 rows of forty users (and of nobody) within 60 days, with ties, out of order."""
    chance = np.random.default_rng(4)
    users, items = [*(f"u{i}" for i in range(40)), None], [*"pqrstuvwxyz"]
    return pl.DataFrame(
        {
            "user": [users[i] for i in chance.integers(41, size=600)],
            "item": [items[i] for i in chance.integers(11, size=600)],
            "ts": (SINCE + chance.integers(60 * 4, size=600) * 6 * HOUR) * unit,
            "liked": chance.integers(2, size=600),
        }
    )


def fields(**changes: Any) -> Fields:
    made = Fields(("user", "item"), goals=GOALS, group="user", time="ts", item="item", past="clicks")  # fmt: skip
    return replace(made, **changes)


def prepared(folder: Path, declared: Fields, unit: int = 1) -> ClickTable:
    folder.mkdir(exist_ok=True)
    log(unit).write_parquet(folder / "log.parquet")
    source = ClickTableSource(fields=declared, path=str(folder / "log.parquet"))
    return prepare_clicks(source, folder / "cache")


def made(folder: Path, protocol: RowProtocol | None = None, unit: int = 1, **changes: Any) -> Made:
    declared = fields(**changes)
    table = prepared(folder, declared, unit)
    dealt = (protocol or TemporalRows(0.5, 0.75)).assign(table, declared)
    return table, declared, encode(table, declared, dealt, folder / "encoded")


def returned(user: list[str | None], time: list[int]) -> list[int]:
    """The definition, row by row."""
    return [
        int(
            mine is not None
            and any(
                other == mine and 12 * HOUR <= later - now < 7 * 24 * HOUR
                for other, later in zip(user, time, strict=True)
            )
        )
        for mine, now in zip(user, time, strict=True)
    ]


@pytest.mark.parametrize("unit", [1, 1000])
def test_labels_and_what_is_left_out_are_those_of_a_loop(tmp_path: Path, unit: int) -> None:
    table, _, encoded = made(tmp_path, unit=unit)
    rows, time = log(), log()["ts"].to_list()
    came = returned(rows["user"].to_list(), time)
    assert 0.3 < np.mean(came) < 0.9
    assert encoded.boundaries is not None
    val_from, test_from = (at / unit for at in encoded.boundaries)
    ends = (val_from, test_from, max(time))
    expected: dict[str, list[int]] = {part: [] for part in PARTS}
    for row, (user, at) in enumerate(zip(rows["user"], time, strict=True)):
        part = (at >= val_from) + (at >= test_from)
        if user is not None and at + 7 * 24 * HOUR <= ends[part]:
            expected[PARTS[part]].append(row)
    for part in PARTS:
        chosen = encoded.part(part)
        assert chosen.tolist() == expected[part] != []
        assert encoded.label[chosen, 1].tolist() == [came[row] for row in chosen]
        assert encoded.label[chosen, 0].tolist() == rows["liked"][chosen.tolist()].to_list()
    assert sum(map(len, expected.values())) < 500
    assert "(train: " in encoded.notes[0]
    assert "back within 7d" in encoded.notes[0]
    audit_clicks(table, fields(), encoded)


def test_rows_that_are_left_out_stand_in_histories_and_teach_no_vocabulary(tmp_path: Path) -> None:
    _, _, encoded = made(tmp_path)
    assert encoded.past is not None
    assert encoded.past.rows is not None
    used = np.concatenate([encoded.train, encoded.val, encoded.test])
    others = np.setdiff1d(np.arange(600), used)
    assert np.isin(encoded.past.rows, others).any()
    assert (encoded.past.start[others] == encoded.past.end[others]).all()
    items = encoded.vocabulary.filter(pl.col("field") == "item")["value"].drop_nulls().to_list()
    assert sorted(items) == sorted(set(log()["item"][encoded.train.tolist()]))


def test_a_period_knows_nothing_of_what_comes_after_it(tmp_path: Path) -> None:
    _, _, encoded = made(tmp_path, TemporalRows(0.4, 0.65, until="2024-01-04"))
    latest = log()["ts"].filter(log()["ts"] < 1_704_326_400).max()
    assert isinstance(latest, int)
    assert log()["ts"][encoded.test.tolist()].max() <= latest - 7 * 24 * HOUR


def test_planted_leaks_are_found(tmp_path: Path) -> None:
    table, declared, encoded = made(tmp_path)
    label = np.array(encoded.label)
    label[encoded.train[5], 1] = 1 - label[encoded.train[5], 1]
    with pytest.raises(LeakError, match="label of back is not that of the log"):
        audit_clicks(table, declared, replace(encoded, label=label))
    assert encoded.boundaries is not None
    time = log()["ts"].to_numpy()
    early = (time < encoded.boundaries[0]) & np.array([x is not None for x in log()["user"]])
    for part, rows in (("train", np.flatnonzero(early)), ("test", encoded.test)):
        late = rows if part == "train" else np.append(rows, np.argmax(time))
        leaky = replace(encoded, **{part: np.sort(late)})
        with pytest.raises(LeakError, match=f"row of {part} has a label of back that is known"):
            audit_clicks(table, declared, leaky)
    nobody = np.flatnonzero(log()["user"].is_null().to_numpy() & (time < SINCE + 10 * 24 * HOUR))
    leaky = replace(encoded, train=np.union1d(encoded.train, nobody))
    with pytest.raises(LeakError, match="no group has a label of its return"):
        audit_clicks(table, declared, leaky)


def test_other_windows_are_other_data(tmp_path: Path) -> None:
    hashes = [prepared(tmp_path / "a", fields()).info["data_hash"]]
    for name, changed in {
        "b": {"returns_within": "8d"},
        "c": {"returns_after": "1h"},
        "d": {"returns_within": "168h"},  # the same
    }.items():
        goals = {**GOALS, "back": replace(GOALS["back"], **changed)}
        hashes.append(prepared(tmp_path / name, fields(goals=goals)).info["data_hash"])
    assert len(set(hashes)) == 3
    assert hashes[3] == hashes[0]


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ({}, "column=COLUMN, or returns_within=7d"),
        ({"column": "liked", "returns_within": "7d"}, "column=COLUMN, or returns_within=7d"),
        ({"returns_within": "7d", "positive_from": 1.0}, "positive_from= is of a column"),
        ({"returns_within": "1d"}, "returns_after=1d must be shorter than returns_within=1d"),
        ({"returns_within": "soon"}, "returns_within=soon: say a number with a unit"),
        ({"returns_within": "7d", "returns_after": "0d"}, "returns_after=0d: say a number"),
        ({"returns_within": 7}, "returns_within=7: say a number with a unit, such as 30m, 12h, 7d"),
        ({"returns_within": "1M"}, "M may be minutes or months: write 30m, or 30d"),
    ],
)
def test_odd_goals_are_told(goal: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Goal(**goal)


def test_what_a_return_needs_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set data\.fields\.group=COLUMN and .*\.time=COLUMN"):
        fields(group=None, time=None, past=None)
    with pytest.raises(UserError, match="'back', which is not known at the time"):
        fields(goals=dict(reversed(GOALS.items())))
    declared = fields()
    prepared(tmp_path, declared)
    source = ClickTableSource(fields=declared, path=str(tmp_path / "log.parquet"))
    with pytest.raises(UserError, match="say protocol=temporal_rows"):
        load_clicks(source, RandomRows(), tmp_path / "cache")
    longer = {**GOALS, "back": Goal(returns_within="70d")}
    with pytest.raises(UserError, match=r"no rows in train.*600 rows.*back within 70d"):
        made(tmp_path / "long", goals=longer)
