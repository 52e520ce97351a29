"""The audit of clicks finds each leak that is planted, and lets clean arrays pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.audit import LeakError
from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.splits import Dealt, TemporalRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource

Made = tuple[ClickTable, Fields, Encoded]


@pytest.fixture
def made(click_csv: Path, click_fields: Fields, tmp_path: Path) -> Made:
    table = prepare_clicks(ClickTableSource(click_fields, str(click_csv)), tmp_path)
    return (
        table,
        click_fields,
        encode(table, click_fields, TemporalRows().deal(table, click_fields)),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"missing": "unknown"},
        {"min_count": 30},
        {"scale": "log"},
        {"scale": "none"},
        {"max_values": 1},
    ],
)
def test_clean_arrays_pass(made: Made, changes: dict[str, Any]) -> None:
    table, fields, _ = made
    fields = replace(fields, **changes)
    encoded = encode(table, fields, TemporalRows().deal(table, fields))
    facts = audit_clicks(table, fields, encoded)
    assert facts["train rate"] == pytest.approx(encoded.label[encoded.train].mean(), abs=1e-4)
    rare = "min_count" in changes or "missing" in changes
    assert (facts["train rows with an unknown category"] > 0) == rare


def test_floats_that_are_categories_pass(tmp_path: Path) -> None:
    path = tmp_path / "floats.parquet"
    columns = {"a": [7.0, None, float("nan"), 8.0], "y": [1, 0, 1, 0]}
    pl.DataFrame(columns).write_parquet(path)
    fields = Fields(categorical=("a",), label="y")
    table = prepare_clicks(ClickTableSource(fields, str(path)), tmp_path)
    encoded = encode(table, fields, Dealt(np.array([0, 0, 2, 2], dtype=np.int8)))
    assert encoded.vocabulary["value"].to_list() == ["7", None]
    audit_clicks(table, fields, encoded)


def everything(made: Made) -> Encoded:
    """What would come of fitting on all rows."""
    table, fields, encoded = made
    row = np.arange(len(encoded.label))
    whole = encode(table, fields, Dealt(np.where(row < 10, 2, 0).astype(np.int8)))
    return replace(whole, train=encoded.train, val=encoded.val, test=encoded.test)


def test_a_vocabulary_of_all_rows_is_found(made: Made) -> None:
    with pytest.raises(LeakError, match="vocabulary of 'uid' is not that of the training rows"):
        audit_clicks(*made[:2], everything(made))


def test_statistics_of_all_rows_are_found(made: Made) -> None:
    table, fields, encoded = made
    leaky = everything(made)
    leaky = replace(encoded, values=leaky.values, statistics=leaky.statistics)
    with pytest.raises(LeakError, match="mean and deviation of 'price'"):
        audit_clicks(table, fields, leaky)


def test_a_tag_that_only_the_test_has_is_found(made: Made) -> None:
    table, fields, encoded = made
    extra = encoded.vocabulary.filter(pl.col("field") == "tags").head(1)
    extra = extra.with_columns(value=pl.lit("later"))
    leaky = replace(encoded, vocabulary=pl.concat([encoded.vocabulary, extra]))
    with pytest.raises(LeakError, match="vocabulary of 'tags' has values that no training row has"):
        audit_clicks(table, fields, leaky)


def moved_train(encoded: Encoded) -> Encoded:
    return replace(encoded, train=np.append(encoded.train, encoded.test[:1]))


def later_train(encoded: Encoded) -> Encoded:
    return replace(encoded, train=np.append(encoded.train, encoded.test[:1]), test=encoded.test[1:])


def swapped_ids(encoded: Encoded) -> Encoded:
    ids = np.array(encoded.ids)
    user = ids[:, 0]
    ids[0, 0] = user[user != user[0]][0]
    return replace(encoded, ids=ids)


def hidden_id(encoded: Encoded) -> Encoded:
    ids = np.array(encoded.ids)
    ids[0, 0] = encoded.schema.fields[0].start
    return replace(encoded, ids=ids)


def foreign_id(encoded: Encoded) -> Encoded:
    ids = np.array(encoded.ids)
    ids[0, 0] = ids[0, 1]
    return replace(encoded, ids=ids)


def wrong_tag(encoded: Encoded) -> Encoded:
    ids = np.array(encoded.ids)
    row = int(np.flatnonzero((ids[:, 3] > 0) & (ids[:, 4] == 0))[0])
    field = encoded.schema.of("multi_valued")[0]
    ids[row, 3] = field.start + 1 + (ids[row, 3] - field.start) % (field.size - 1)
    return replace(encoded, ids=ids)


def other_number(encoded: Encoded) -> Encoded:
    values = np.array(encoded.values)
    values[5] += 0.01
    return replace(encoded, values=values)


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (moved_train, "a row is in two parts"),
        (later_train, "a row of train lies outside its window of time"),
        (swapped_ids, "an id of 'uid' stands for another value"),
        (hidden_id, "an id of 'uid' stands for another value"),
        (foreign_id, "an id of 'uid' belongs to another field"),
        (wrong_tag, "an id of 'tags' stands for another value"),
        (other_number, "a number of 'price' is not what the table has"),
    ],
)
def test_what_is_planted_is_found(
    made: Made, plant: Callable[[Encoded], Encoded], said: str
) -> None:
    table, fields, encoded = made
    with pytest.raises(LeakError, match=said):
        audit_clicks(table, fields, plant(encoded))
