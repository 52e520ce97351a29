"""The audit of clicks finds each leak that is planted, and lets clean arrays pass."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import table as table_module
from lightning_rec.data.clicks.audit import audit_clicks
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.fit import _Fitter
from lightning_rec.data.clicks.schema import ClickSchema
from lightning_rec.data.clicks.splits import SplitAssignment, TemporalRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import LeakError

Made = tuple[ClickTable, Fields, Encoded]


@pytest.fixture
def made(click_csv: Path, click_fields: Fields, tmp_path: Path) -> Made:
    table = prepare_clicks(ClickTableSource(fields=click_fields, path=str(click_csv)), tmp_path)
    return table, click_fields, encoded(table, click_fields)


def encoded(table: ClickTable, fields: Fields, dealt: SplitAssignment | None = None) -> Encoded:
    folder = Path(mkdtemp(dir=table.folder.parent)) / "encoded"
    return encode(table, fields, dealt or TemporalRows().assign(table, fields), folder)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"missing": "unknown"},
        {"min_count": 30},
        {"scale": "log"},
        {"scale": "none"},
        {"max_values": 1},
        {"hash_size": {"uid": 7, "tags": 3}},
        {"buckets": {"price": 4}},
        {"buckets": {"price": "log_square"}, "min_counts": {"price": 5}},
    ],
)
def test_clean_arrays_pass(made: Made, changes: dict[str, Any]) -> None:
    table, fields, _ = made
    fields = replace(fields, **changes)
    arrays = encoded(table, fields)
    facts, _ = audit_clicks(table, fields, arrays)
    assert facts["train rate"] == pytest.approx(arrays.label[arrays.train].mean(), abs=1e-4)
    rare = {"min_count", "min_counts", "missing"} & set(changes) != set()
    assert (facts["train rows with an unknown category"] > 0) == rare


def test_floats_that_are_categories_pass(tmp_path: Path) -> None:
    path = tmp_path / "floats.parquet"
    columns = {"a": [7.0, None, float("nan"), 8.0], "y": [1, 0, 1, 0]}
    pl.DataFrame(columns).write_parquet(path)
    fields = Fields(categorical=("a",), label="y")
    table = prepare_clicks(ClickTableSource(fields=fields, path=str(path)), tmp_path)
    arrays = encoded(table, fields, SplitAssignment(np.array([0, 0, 2, 2], dtype=np.int8)))
    assert arrays.vocabulary["value"].to_list() == ["7", None]
    audit_clicks(table, fields, arrays)


def everything(made: Made) -> Encoded:
    """What would come of fitting on all rows."""
    table, fields, arrays = made
    row = np.arange(len(arrays.label))
    whole = encoded(table, fields, SplitAssignment(np.where(row < 10, 2, 0).astype(np.int8)))
    return replace(whole, train=arrays.train, val=arrays.val, test=arrays.test)


def test_a_vocabulary_of_all_rows_is_found(made: Made) -> None:
    with pytest.raises(LeakError, match="vocabulary of 'uid' is not that of the training rows"):
        audit_clicks(*made[:2], everything(made))


def test_statistics_of_all_rows_are_found(made: Made) -> None:
    table, fields, encoded = made
    leaky = everything(made)
    leaky = replace(encoded, values=leaky.values, statistics=leaky.statistics)
    with pytest.raises(LeakError, match="mean and deviation of 'price'"):
        audit_clicks(table, fields, leaky)


def other_vocabulary(made: Made, column: str, value: object) -> Encoded:
    """The arrays with another value or count for the last tag."""
    known = made[2].vocabulary
    last = (pl.col("field") == "tags") & (pl.col("id") == pl.col("id").max().over("field"))
    changed = pl.when(last).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)
    return replace(made[2], vocabulary=known.with_columns(changed))


def test_a_tag_that_only_the_test_has_is_found(made: Made) -> None:
    table, fields, arrays = made
    (tags,) = arrays.schema.of("multi_valued")
    last = arrays.vocabulary.filter(pl.col("field") == "tags")["id"].max()
    extra = pl.DataFrame({"field": "tags", "value": "later", "id": last + 1, "count": 1})
    more = pl.concat([arrays.vocabulary, extra.cast(arrays.vocabulary.schema)])
    wider = (*arrays.schema.fields[:3], tags._replace(size=tags.size + 1), arrays.schema.fields[4])
    leaky = replace(arrays, vocabulary=more, schema=ClickSchema(wider))
    with pytest.raises(LeakError, match="vocabulary of 'tags' is not that of the training rows"):
        audit_clicks(table, fields, leaky)


def test_a_tag_counted_outside_of_training_is_found(made: Made) -> None:
    leaky = other_vocabulary(made, "count", 1)
    with pytest.raises(LeakError, match="vocabulary of 'tags' is not that of the training rows"):
        audit_clicks(*made[:2], leaky)
    with pytest.raises(LeakError, match="an id of 'tags' stands for another value"):
        audit_clicks(*made[:2], other_vocabulary(made, "value", "later"))


def test_lists_longer_than_those_of_training_are_found(made: Made) -> None:
    table, fields, arrays = made
    tags = arrays.schema.of("multi_valued")[0]
    wider = tags._replace(width=tags.width + 1)
    ids = np.insert(arrays.ids, 3 + tags.width, 0, axis=1)
    schema = ClickSchema((*arrays.schema.fields[:3], wider, arrays.schema.fields[4]))
    with pytest.raises(LeakError, match="lists of 'tags' are not as long as the longest"):
        audit_clicks(table, fields, replace(arrays, ids=ids, schema=schema))


def test_a_hash_of_another_kind_is_found(made: Made) -> None:
    table, fields, _ = made
    fields = replace(fields, hash_size={"uid": 50})
    arrays = encoded(table, fields)
    other = np.array(arrays.ids)
    other[:, 0] = 2 + (other[:, 0] - 1) % 50
    with pytest.raises(LeakError, match="an id of 'uid' stands for another value"):
        audit_clicks(table, fields, replace(arrays, ids=other))


def test_buckets_that_are_not_those_of_training_are_found(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, fields, _ = made
    fields = replace(fields, buckets={"price": 3})
    monkeypatch.setattr(_Fitter, "_edges", lambda *_: [5.0, 9.0])
    with pytest.raises(LeakError, match="buckets of 'price' are not those of the training rows"):
        audit_clicks(table, fields, encoded(table, fields))


def test_it_reads_block_by_block(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = audit_clicks(*made)
    monkeypatch.setattr(table_module, "BLOCK", 97)
    assert audit_clicks(*made) == whole
    ids = np.array(made[2].ids)
    ids[555, 0] = made[2].schema.fields[0].start
    with pytest.raises(LeakError, match=r"first at row 555 of"):
        audit_clicks(*made[:2], replace(made[2], ids=ids))


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
