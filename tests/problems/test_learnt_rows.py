"""Rows of clicks that an earlier run has learnt, and that are not what they were in the log of now."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli, config
from lightning_rec.build import problem_of
from lightning_rec.errors import UserError
from lightning_rec.runs import checksums

MOMENT = 1_600_000_000 + 60 * 400
SETTINGS = [
    "data=click_table", "protocol=temporal_rows", "logger=none", "trainer=cpu", "baseline=null",
    "batches.batch_size=64", "model=fm", "model.dim=4", "trainer.max_epochs=0", "data.fields.label=clicked",
    "data.fields.categorical=[uid,sku,device]", "data.fields.multi_valued=[tags]",
    "data.fields.numeric=[price]", "data.fields.group=uid", "data.fields.time=ts",
]  # fmt: skip
Told = Callable[..., str]


@pytest.fixture(scope="module")
def run(click_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    click_frame.filter(pl.col("ts") < MOMENT).write_csv(folder / "early.csv")
    asked = [*SETTINGS, f"data.path={folder / 'early.csv'}", f"run_dir={folder / 'run'}"]
    assert cli.run(["train", *asked]) == 0
    return folder / "run"


@pytest.fixture
def told(run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Told:
    """What is told as a run looks at a later log, before it goes on with it."""

    def going_on(log: pl.DataFrame) -> str:
        log.write_csv(tmp_path / "late.csv")
        asked = [
            *SETTINGS,
            f"data.path={tmp_path / 'late.csv'}",
            "method=update",
            f"method.run={run}",
        ]
        problem: Any = problem_of(config.compose(asked))
        loaded = problem.load(tmp_path)
        caplog.clear()
        problem.before(loaded, str(run))
        return " ".join(record.getMessage() for record in caplog.records)

    return going_on


def test_rows_in_another_order_are_what_they_were(
    run: Path, click_frame: pl.DataFrame, told: Told
) -> None:
    trained = pl.read_parquet(run / "trained.parquet").row(0, named=True)
    assert pl.read_parquet(run / "learnt.parquet")["rows"].sum() == trained["rows"] > 300
    assert "not what they were" not in told(click_frame)
    shuffled = click_frame.sample(fraction=1.0, shuffle=True, seed=4)
    assert "not what they were" not in told(shuffled)
    as_numbers = click_frame.with_columns(pl.col("clicked").cast(pl.Float64), price=pl.col("price") * 1.0)  # fmt: skip
    assert "not what they were" not in told(as_numbers)


@pytest.mark.parametrize(
    ("column", "value"),
    [("clicked", 1 - pl.col("clicked")), ("sku", pl.lit("i1x")), ("tags", pl.lit("odd")),
     ("price", pl.lit(9.125)), ("device", pl.lit("abacus"))],
)  # fmt: skip
def test_rows_that_have_changed_are_told(
    column: str, value: pl.Expr, click_frame: pl.DataFrame, told: Told
) -> None:
    number = pl.int_range(pl.len())
    some = number.is_in([17, 101, 102])
    changed = click_frame.with_columns(
        pl.when(some).then(value).otherwise(pl.col(column)).alias(column)
    )
    found = told(changed)
    assert "has learnt rows that are not what they were: in 3 of" in found
    first = click_frame["ts"][17]
    assert f"from ts={first} on" in found
    late = number >= 500  # none that was learnt
    later = click_frame.with_columns(
        pl.when(late).then(value).otherwise(pl.col(column)).alias(column)
    )
    assert "not what they were" not in told(later)


def test_rows_that_are_gone_or_came_late_are_told_apart(
    click_frame: pl.DataFrame, told: Told
) -> None:
    number = pl.int_range(pl.len())
    assert "in 1 of" in told(click_frame.filter(number != 40))
    late = pl.concat([click_frame, click_frame[60].with_columns(sku=pl.lit("i2"))])
    found = told(late)
    assert "1 rows came late" in found
    assert "not what they were" not in found


def test_another_log_is_refused(click_frame: pl.DataFrame, told: Told) -> None:
    with pytest.raises(UserError, match="train anew, or give the log that it was trained on"):
        told(click_frame.with_columns(pl.col("price") * 1.1))


def test_a_bundle_takes_them_along_and_an_older_run_says_nothing(
    run: Path, click_frame: pl.DataFrame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0
    number = pl.int_range(pl.len())
    flipped = pl.when(number == 17).then(1 - pl.col("clicked")).otherwise(pl.col("clicked"))
    click_frame.with_columns(clicked=flipped).write_csv(tmp_path / "late.csv")
    old = shutil.copytree(run, tmp_path / "old")
    (old / "learnt.parquet").unlink()
    checksums.forget(old, "learnt.parquet")
    for source, words in ((tmp_path / "bundle", "in 1 of"), (old, "are not noticed")):
        caplog.clear()
        line = [f"from={source}", f"data.path={tmp_path / 'late.csv'}"]
        assert cli.run(["train", *line, f"run_dir={tmp_path / source.name}_on"]) == 0
        assert words in caplog.text


def test_the_hash_is_of_values_and_not_of_a_library() -> None:
    """FNV-1a and SplitMix64 in plain Python."""
    from lightning_rec.data.clicks.processor import words_of

    def by_hand(text: str) -> int:
        word = 0xCBF29CE484222325
        for byte in text.encode():
            word = (word ^ byte) * 0x100000001B3 % 2**64
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ word >> 27) * 0x94D049BB133111EB % 2**64
        return word ^ word >> 31

    texts = ["", "a", "grün", "a longer text"]
    found = words_of(pl.Series(texts))
    assert found.dtype == np.uint64
    assert found.tolist() == [by_hand(text) for text in texts]
