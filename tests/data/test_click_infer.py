"""What columns of clicks seem to be, on a table where each kind is known."""

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.data.clicks import infer
from lightning_rec.data.clicks.infer import fields_of, guess
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError

ROWS = 400
CHANCE = random.Random(5)
COLUMNS: dict[str, list[Any]] = {
    "row_id": list(range(1000, 1000 + ROWS)),
    "user_id": [CHANCE.randrange(150) for _ in range(ROWS)],
    "device": [CHANCE.choice(["phone", "desk", None]) for _ in range(ROWS)],
    "tags": ["|".join(CHANCE.sample("abcd", CHANCE.randint(0, 3))) for _ in range(ROWS)],
    "price": [CHANCE.random() for _ in range(ROWS)],
    "views": [CHANCE.randrange(100_000) for _ in range(ROWS)],
    "hour": [CHANCE.randrange(24) for _ in range(ROWS)],
    "shop": ["only"] * ROWS,
    "created": [1_600_000_000 + 60 * row for row in range(ROWS)],
    "clicked": [CHANCE.randrange(2) for _ in range(ROWS)],
}
KINDS = {
    "row_id": "left out", "user_id": "categorical", "device": "categorical", "tags": "multi_valued",
    "price": "numeric", "views": "numeric", "hour": "categorical", "shop": "left out",
    "created": "time", "clicked": "label",
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_each_column_is_seen_for_what_it_is(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clicks.{suffix}"
    frame = pl.DataFrame(COLUMNS)
    frame.write_csv(path) if suffix == "csv" else frame.write_parquet(path)
    guesses, separator = guess(open_table(path), {})
    assert {each.name: each.kind for each in guesses} == KINDS
    assert separator == "|"
    by_name = {each.name: each for each in guesses}
    assert by_name["user_id"].distinct == pytest.approx(len(set(COLUMNS["user_id"])), rel=0.1)
    empty = COLUMNS["device"].count(None) / ROWS
    assert by_name["device"].empty == pytest.approx(empty)
    assert by_name["hour"].megabytes == pytest.approx(24 * 256 / 2**20, rel=0.05)
    fields = fields_of(guesses, separator, None)
    assert fields["categorical"] == ["user_id", "device", "hour"]
    assert (fields["label"], fields["group"], fields["time"]) == ("clicked", "user_id", "created")
    assert fields["weight"] is None


def test_what_the_user_says_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clicks.parquet"
    pl.DataFrame(COLUMNS).write_parquet(path)
    monkeypatch.setattr(infer, "_HASHED", 100)
    guesses, separator = guess(open_table(path), {"label": "hour", "group": "device"})
    fields = fields_of(guesses, separator, 12.0)
    assert (fields["label"], fields["group"], fields["positive_from"]) == ("hour", "device", 12.0)
    assert fields["hash_size"] == {"user_id": 100}
    assert "clicked" in fields["categorical"]


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clicks.parquet"
    pl.DataFrame(COLUMNS).drop("clicked").write_parquet(path)
    with pytest.raises(UserError, match="say label=COLUMN"):
        guess(open_table(path), {})
    with pytest.raises(UserError, match=r"no column 'hours' for label.*Did you mean 'hour'"):
        guess(open_table(path), {"label": "hours"})
    pl.DataFrame(COLUMNS).clear().write_parquet(path)
    with pytest.raises(UserError, match="holds no rows"):
        guess(open_table(path), {})


def test_lists_and_dates_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "typed.parquet"
    frame = pl.DataFrame(COLUMNS).with_columns(
        pl.col("tags").str.split("|"), seen=pl.from_epoch("created")
    )
    frame.write_parquet(path)
    kinds = {each.name: each.kind for each in guess(open_table(path), {})[0]}
    assert (kinds["tags"], kinds["seen"]) == ("multi_valued", "left out")
