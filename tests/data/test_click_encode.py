"""Fields become arrays: fitted on train alone, and nothing crashes on what train has not seen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import encode as module
from lightning_rec.data.clicks.batches import ClickData, ClickSet
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.pipeline import load_clicks
from lightning_rec.data.clicks.splits import Dealt, RandomRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError

# Two rows to validate and two to test on; all before them train.
TABLE: dict[str, list[Any]] = {
    "city": ["b", "b", "a", None, "c", "a", "new", None],
    "tags": ["x|y", "y", "", "y| z|y", None, "x", "q|x", "z"],
    "age": [10.0, 20.0, None, 30.0, 20.0, 20.0, float("inf"), 1e9],
    "label": [1, 0, 1, 0, 1, 0, 1, 0],
}
FIELDS = Fields(categorical=("city",), multi_valued=("tags",), numeric=("age",), label="label")
DEALT = Dealt(np.array([0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int8))


def table(folder: Path, columns: dict[str, list[Any]] = TABLE) -> ClickTable:
    path = folder / "small.parquet"
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return prepare_clicks(ClickTableSource(FIELDS, str(path)), folder / "cache")


def encoded(folder: Path, **changes: Any) -> Encoded:
    return encode(table(folder), replace(FIELDS, **changes), DEALT)


def vocabulary(made: Encoded, field: str) -> dict[str | None, int]:
    known = made.vocabulary.filter(pl.col("field") == field)
    return dict(known.select("value", "id").iter_rows())


def test_categories_are_those_of_train_the_most_frequent_first(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    # Row 0 fills lists; 1 is city's unknown.
    assert vocabulary(made, "city") == {"b": 2, "a": 3, None: 4}
    assert made.ids[:, 0].tolist() == [2, 2, 3, 4, 1, 3, 1, 4]
    assert made.schema.of("categorical")[0][2:] == (1, 4, 1)


def test_missing_categories_go_where_the_declaration_says(tmp_path: Path) -> None:
    made = encoded(tmp_path, missing="unknown")
    assert vocabulary(made, "city") == {"b": 2, "a": 3}
    assert made.ids[[3, 7], 0].tolist() == [1, 1]


def test_rare_categories_are_unknown(tmp_path: Path) -> None:
    made = encoded(tmp_path, min_count=2)
    assert vocabulary(made, "city") == {"b": 2}
    assert vocabulary(made, "tags") == {"y": 4}


def test_lists_are_filled_up_without_doubled_values(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    y, x, z = (vocabulary(made, "tags")[tag] for tag in "yxz")
    unknown = made.schema.of("multi_valued")[0].start
    # The longest list of train has two values, so no row keeps more.
    assert made.ids[:, 1:].tolist() == [
        [x, y], [y, 0], [0, 0], [y, z], [0, 0], [x, 0], [unknown, x], [z, 0],
    ]  # fmt: skip
    assert encoded(tmp_path, max_values=1).ids.shape == (8, 2)


def test_numbers_are_scaled_by_train_and_the_missing_become_its_mean(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    seen = np.array([10.0, 20.0, 30.0])
    assert made.statistics.row(0) == ("age", pytest.approx(20), pytest.approx(seen.std()))
    wanted = (np.array([10, 20, 20, 30, 20, 20, 20, 1e9]) - 20) / seen.std()
    np.testing.assert_allclose(made.values[:, 0], wanted, rtol=1e-6)
    plain = encoded(tmp_path, scale="none").values[:, 0]
    assert plain[[0, 2, 6]].tolist() == [10, 20, 20]
    logs = np.log1p(seen)
    logged = encoded(tmp_path, scale="log").values[0, 0]
    assert logged == pytest.approx((logs[0] - logs.mean()) / logs.std(), rel=1e-6)


def test_a_constant_number_is_not_divided_by_nothing(tmp_path: Path) -> None:
    made = encode(table(tmp_path, TABLE | {"age": [3.0] * 8}), FIELDS, DEALT)
    assert (made.values == 0).all()


def test_arrays_survive_the_disk(tmp_path: Path) -> None:
    fields = replace(FIELDS, group="city", weight="worth")
    made = encode(table(tmp_path, TABLE | {"worth": [1, 2, 3, 4, 5, 6, 7, 8]}), fields, DEALT)
    made.save(tmp_path / "saved")
    again = Encoded.load(tmp_path / "saved")
    assert again.schema == made.schema
    assert made.group is not None
    assert again.group is not None
    assert made.group.tolist() == again.group.tolist() == [1, 1, 0, -1, 2, 0, 3, -1]
    for name in ("ids", "values", "label", "weight", "train", "val", "test"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert again.vocabulary.equals(made.vocabulary)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [1, 0, 1, 0, 1, 0, 1, 2]}, "row 8: the label in column 'label' is 2"),
        ({"label": [1, 0, 1, 0, 1, 0, 1, None]}, "row 8: the label in column 'label' is None"),
        ({"label": [1, 0, 1, 0, 1, 0, 1, 1]}, "test: all 2 labels are 1"),
        ({"label": [1, 1, 1, 1, 1, 0, 1, 0]}, "train: all 4 labels are 1"),
        ({"age": ["1", "2", "", "old", "5", "6", "7", "8"]}, "row 4: 'old' in column 'age'"),
        ({"city": [["a"]] * 8}, "declare it in data.fields.multi_valued"),
    ],
)
def test_faults_are_told(tmp_path: Path, change: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        encode(table(tmp_path, TABLE | change), FIELDS, DEALT)


def test_ratings_become_labels(tmp_path: Path) -> None:
    stars = table(tmp_path, TABLE | {"label": [5, 3.5, 4, 1, 5, 2, 4.5, 3]})
    made = encode(stars, replace(FIELDS, positive_from=4.0), DEALT)
    assert made.label.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


def test_far_too_many_categories_say_what_they_would_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_CATEGORIES", 2)
    with pytest.raises(UserError, match=r"'city' has 3 categories.* GiB.*min_count"):
        encoded(tmp_path)


def test_weights_below_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="row 2: the weight in column 'age' is -1"):
        encode(
            table(tmp_path, TABLE | {"age": [1, -1, 1, 1, 1, 1, 1, 1]}),
            Fields(categorical=("city",), label="label", weight="age"),
            DEALT,
        )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"categorical": ("a",)}, "label is not set"),
        ({"label": "y"}, "names no feature"),
        ({"label": "y", "categorical": ("a", "y")}, "the column y for two things"),
        ({"label": "y", "categorical": ("a",), "numeric": ("a",)}, "the column a for two things"),
    ],
)
def test_a_declaration_that_makes_no_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Fields(**settings)


def test_batches_are_whole_rows_of_a_part(
    click_csv: Path, click_fields: Fields, tmp_path: Path
) -> None:
    fields = replace(click_fields, weight="worth")
    loaded = load_clicks(ClickTableSource(fields, str(click_csv)), RandomRows(), tmp_path)
    made = loaded.encoded
    batch = ClickSet(made, "val").__getitems__([3, 0])
    rows = made.val[[3, 0]]
    assert batch.example.tolist() == [3, 0]
    np.testing.assert_array_equal(batch.rows.ids.numpy(), made.ids[rows])
    np.testing.assert_array_equal(batch.rows.values.numpy(), made.values[rows])
    np.testing.assert_array_equal(batch.label.numpy(), made.label[rows])
    assert batch.weight is not None
    assert made.weight is not None
    np.testing.assert_array_equal(batch.weight.numpy(), made.weight[rows])
    data = ClickData(made, seed=1, batch_size=64)
    seen = [batch.example for batch in data.train_dataloader()]
    assert sorted(np.concatenate(seen).tolist()) == list(range(len(made.train)))
    assert seen[0].tolist() != sorted(seen[0].tolist())
