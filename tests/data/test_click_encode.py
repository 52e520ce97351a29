"""Fields become arrays: fitted on train alone, and nothing crashes on what train has not seen."""

import re
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import fit as module
from lightning_rec.data.clicks import table as table_module
from lightning_rec.data.clicks.batches import ClickData, ClickSet
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields, Goal
from lightning_rec.data.clicks.pipeline import load_clicks
from lightning_rec.data.clicks.processor import TABLES, FeatureProcessor, buckets
from lightning_rec.data.clicks.splits import RandomRows, SplitAssignment, times
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError

# Two rows to validate and two to test on; all before them train.
TABLE: dict[str, list[Any]] = {
    "city": ["b", "b", "a", None, "c", "a", "new", None],
    "tags": ["x|y", "y", "", "y| z|y", None, "x", "q|x", "z"],
    "age": [10.0, 20.0, None, 30.0, 20.0, 20.0, float("nan"), 1e9],
    "label": [1, 0, 1, 0, 1, 0, 1, 0],
}
FIELDS = Fields(categorical=("city",), multi_valued=("tags",), numeric=("age",), label="label")
DEALT = SplitAssignment(np.array([0, 0, 0, 0, 1, 1, 2, 2], dtype=np.int8))


def table(folder: Path, columns: dict[str, list[Any]] = TABLE) -> ClickTable:
    path = folder / "small.parquet"
    pl.DataFrame(columns, strict=False).write_parquet(path)
    return prepare_clicks(ClickTableSource(fields=FIELDS, path=str(path)), folder / "cache")


def encoded(folder: Path, columns: dict[str, list[Any]] = TABLE, **changes: Any) -> Encoded:
    fields = replace(FIELDS, **changes)
    return encode(table(folder, columns), fields, DEALT, Path(mkdtemp(dir=folder)) / "encoded")


def vocabulary(made: Encoded, field: str) -> dict[str | None, int]:
    known = made.vocabulary.filter(pl.col("field") == field)
    return dict(known.select("value", "id").iter_rows())


def test_categories_are_those_of_train_the_most_frequent_first(tmp_path: Path) -> None:
    made = encoded(tmp_path)
    # Row 0 fills lists; 1 is city's unknown.
    assert vocabulary(made, "city") == {"b": 2, "a": 3, None: 4}
    assert made.ids[:, 0].tolist() == [2, 2, 3, 4, 1, 3, 1, 4]
    assert made.schema.of("categorical")[0][2:] == (1, 4, 1, None)


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
    assert made.statistics.row(0)[:3] == ("age", pytest.approx(20), pytest.approx(seen.std()))
    wanted = (np.array([10, 20, 20, 30, 20, 20, 20, 1e9]) - 20) / seen.std()
    np.testing.assert_allclose(made.values[:, 0], wanted, rtol=1e-6)
    plain = encoded(tmp_path, scale="none").values[:, 0]
    assert plain[[0, 2, 6]].tolist() == [10, 20, 20]
    logs = np.log1p(seen)
    logged = encoded(tmp_path, scale="log").values[0, 0]
    assert logged == pytest.approx((logs[0] - logs.mean()) / logs.std(), rel=1e-6)


def test_a_constant_number_is_not_divided_by_nothing(tmp_path: Path) -> None:
    made = encoded(tmp_path, TABLE | {"age": [3.0] * 8})
    assert (made.values == 0).all()


def test_labels_weights_and_groups_are_those_of_the_rows(tmp_path: Path) -> None:
    made = encoded(
        tmp_path, TABLE | {"worth": [1, 2, 3, 4, 5, 6, 7, 8]}, group="city", weight="worth"
    )
    assert made.group is not None
    assert made.weight is not None
    assert made.group.tolist() == [1, 1, 0, -1, 2, 0, 3, -1]
    assert made.weight.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert made.label.tolist() == TABLE["label"]
    assert [part.tolist() for part in (made.train, made.val, made.test)] == [
        [0, 1, 2, 3], [4, 5], [6, 7],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": [1, 0, 1, 0, 1, 0, 1, 2]}, "row 8: the label in column 'label' is 2"),
        ({"label": [1, 0, 1, 0, 1, 0, 1, None]}, "row 8: the label in column 'label' is empty; "),
        ({"label": [1, 0, 1, 0, 1, 0, 1, 1]}, "test: all 2 labels are 1"),
        ({"label": [1, 1, 1, 1, 1, 0, 1, 0]}, "train: all 4 labels are 1"),
        ({"age": ["1", "2", "", "old", "5", "6", "7", "8"]}, "row 4: 'old' in column 'age'"),
        ({"city": [["a"]] * 8}, "declared in data.fields.multi_valued"),
    ],
)
def test_faults_are_told(tmp_path: Path, change: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        encoded(tmp_path, TABLE | change)


STARS = {"stars": [1, 3, 4, 5, 2, 5, 5, 1], "label": TABLE["label"]}
LIKED = Goal("stars", 3)


def test_goals_are_columns_of_the_labels_in_their_order(tmp_path: Path) -> None:
    goals = {"liked": LIKED, "loved": Goal("stars", 5), "clicked": Goal("label")}
    made = encoded(tmp_path, TABLE | STARS, label=None, goals=goals)
    assert made.schema.goals == ("liked", "loved", "clicked")
    assert made.label[:, 0].tolist() == [0, 1, 1, 1, 0, 1, 1, 0]
    assert made.label[:, 1].tolist() == [0, 0, 0, 1, 0, 1, 1, 0]
    assert made.label[:, 2].tolist() == TABLE["label"]
    batch = ClickSet(made, "val").__getitems__([1, 0])
    assert batch.label.tolist() == [[1, 1, 0], [0, 0, 1]]
    processor = made.processor(replace(FIELDS, label=None, goals=goals))
    assert FeatureProcessor.of(processor.tables(), processor.fields).schema == made.schema


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"goals": {"liked": LIKED}}, "has a label and goals"),
        ({"label": None, "goals": {"a b": LIKED}}, "a goal cannot be called a b"),
        ({"label": None, "goals": {"old": Goal("age", 1.0)}}, "the column age for two things"),
        ({"label": None, "goals": {"liked": Goal("starts")}}, "goals.liked.column; it has"),
        ({"label": None, "goals": {"liked": Goal("stars")}}, "goals.liked.positive_from=NUMBER"),
        (
            {"label": None, "goals": {"liked": LIKED, "top": Goal("stars", 6)}},
            "small, train, top: all 4 labels are 0",
        ),
    ],
)
def test_faulty_goals_are_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    def declared() -> None:
        replace(FIELDS, **change).check("small", [*TABLE, "stars"])
        encoded(tmp_path, TABLE | STARS, **change)

    with pytest.raises(UserError, match=said):
        declared()


def test_any_size_of_blocks_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {
        "group": "city", "numeric": ("age", "rank"), "buckets": {"rank": 3}, "time": "rank",
    }  # fmt: skip
    columns = TABLE | {"rank": [3, 1, 4, 1, 5, 9, 2, 6]}
    whole = encoded(tmp_path, columns, **settings)
    monkeypatch.setattr(table_module, "BLOCK", 3)
    blocks = encoded(tmp_path, columns, **settings)
    for name in ("ids", "values", "label", "group", "train", "val", "test"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-6)
    assert blocks.vocabulary.equals(whole.vocabulary)
    rows = table(tmp_path, columns)
    assert times(rows, replace(FIELDS, **settings)).tolist() == columns["rank"]
    held = RandomRows(whole_groups=True, test=0.4).assign(rows, replace(FIELDS, **settings))
    monkeypatch.undo()
    again = RandomRows(whole_groups=True, test=0.4).assign(rows, replace(FIELDS, **settings))
    assert held.part.tolist() == again.part.tolist()


def test_a_fault_is_counted_over_all_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "BLOCK", 3)
    with pytest.raises(UserError, match=r"row 5: the label .* is 7; .* \(2 such rows\)"):
        encoded(tmp_path, TABLE | {"label": [1, 0, 1, 0, 7, 0, 1, 8]})


def test_a_minimum_count_of_its_own(tmp_path: Path) -> None:
    made = encoded(tmp_path, min_counts={"tags": 2})
    assert vocabulary(made, "tags") == {"y": 6}
    assert vocabulary(made, "city") == {"b": 2, "a": 3, None: 4}


def test_hashed_categories_share_rows_and_have_no_vocabulary(tmp_path: Path) -> None:
    made = encoded(tmp_path, hash_size={"city": 4, "tags": 3})
    assert vocabulary(made, "city") == vocabulary(made, "tags") == {}
    city, tags = made.schema.fields[:2]
    assert (city.start, city.size, tags.start, tags.size) == (1, 5, 6, 4)
    where = buckets(pl.Series(["b", "a", "c", "new"]), 4) + 2
    b, a, c, new = where.tolist()
    assert made.ids[:, 0].tolist() == [b, b, a, 1, c, a, new, 1]
    x, y, z, q = (buckets(pl.Series(["x", "y", "z", "q"]), 3) + 7).tolist()
    assert made.ids[:, 1:].tolist() == [
        [x, y], [y, 0], [0, 0], [y, z], [0, 0], [x, 0], [q, x], [z, 0],
    ]  # fmt: skip


def test_buckets_are_quantiles_of_train_or_the_rule_of_criteos_winners(tmp_path: Path) -> None:
    made = encoded(tmp_path, buckets={"age": 2})
    # The median of 10, 20 and 30 is 20, which opens the upper bucket; an infinite age is missing.
    assert made.statistics["edges"].to_list() == [[20.0]]
    low, high, none = (vocabulary(made, "age")[value] for value in ("0", "1", None))
    assert made.ids[:, 1].tolist() == [low, high, none, high, high, high, none, high]
    assert made.values.shape == (8, 0)
    ages = [2.9, -3.7, 3.0, 20.0, 2.0, 100.0, None, 1e9]
    made = encoded(tmp_path, TABLE | {"age": ages}, buckets={"age": "log_square"}, missing="own")
    unknown = made.schema.fields[1].start
    known = vocabulary(made, "age")  # floor(ln(2.9)²) = 1, floor(ln(20)²) = 8
    assert set(known) == {"1", "-3", "8"}
    assert made.ids[:4, 1].tolist() == [known[v] for v in ("1", "-3", "1", "8")]
    assert made.ids[4:, 1].tolist() == [unknown] * 4


def test_the_encoder_in_a_folder_makes_the_same_of_rows(tmp_path: Path) -> None:
    fields = replace(FIELDS, hash_size={"tags": 5}, numeric=("age", "rank"), buckets={"rank": 2})
    rows = table(tmp_path, TABLE | {"rank": [1.5, 2, 3, 4, 5, 6, None, 8]})
    made = encode(rows, fields, DEALT, tmp_path / "encoded")
    tables = {name: pl.read_parquet(tmp_path / "encoded" / f"{name}.parquet") for name in TABLES}
    again = FeatureProcessor.of(tables, fields)
    frame = rows.rows.collect()
    np.testing.assert_array_equal(again.ids(frame), made.ids)
    np.testing.assert_array_equal(again.values(frame), made.values)
    worst = frame.head(3).with_columns(
        city=pl.lit(None, pl.String), tags=pl.lit(" |"), age=pl.Series(["x", "inf", None]),
        rank=pl.Series([float("nan"), float("-inf"), 1e300]),
    )  # fmt: skip
    ids, (age,) = again.ids(worst), again.values(worst).T
    assert (ids[:, 2:] == 0).all()
    assert (ids[:, 0] == vocabulary(made, "city")[None]).all()
    assert (age == 0).all()  # the mean
    rank = again.schema.fields[1]
    assert ids[:, 1].tolist() == [rank.start, rank.start, vocabulary(made, "rank")["1"]]


def test_ratings_become_labels(tmp_path: Path) -> None:
    stars = TABLE | {"label": [5, 3.5, 4, 1, 5, 2, 4.5, 3]}
    made = encoded(tmp_path, stars, positive_from=4.0)
    assert made.label.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("least", [1, 2])
def test_far_too_many_categories_say_what_they_would_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(module, "MOST_CATEGORIES", 1)
    said = r"'city' has 2 categories.* GiB.*data\.fields\.hash_size=\{city: 1000000\}.*min_count"
    with pytest.raises(UserError, match=said):
        encoded(tmp_path, TABLE | {"city": list("aabb") * 2}, min_count=least)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1, -1, 1, 1, 1, 1, 1, 1], "row 2: the weight in column 'age' is -1"),
        ([0, 0, 0, 0, 0, 0, 0, 0], "train: all weights in column 'age' are 0"),
    ],
)
def test_weights_that_nothing_is_learnt_by_are_refused(
    weights: list[int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        encoded(tmp_path, TABLE | {"age": weights}, multi_valued=(), numeric=(), weight="age")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"categorical": ("a",)}, "label is not set"),
        ({"label": "y"}, "names no feature"),
        ({"label": "y", "categorical": ("a", "y")}, "the column y for two things"),
        ({"label": "y", "categorical": ("a",), "numeric": ("a",)}, "the column a for two things"),
        ({"label": "y", "categorical": ("a",), "buckets": {"a": 3}}, "buckets speaks of 'a'"),
        ({"label": "y", "numeric": ("ab",), "hash_size": {"ab": 3}}, "hash_size speaks of 'ab'"),
        ({"label": "y", "numeric": ("ab",), "buckets": {"ac": 3}}, "Did you mean 'ab'"),
        (
            {"label": "y", "categorical": ("a",), "hash_size": {"a": 9}, "min_counts": {"a": 3}},
            "min_counts speaks of 'a'",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Fields(**settings)


def test_batches_are_whole_rows_of_a_part(
    click_csv: Path, click_fields: Fields, tmp_path: Path
) -> None:
    fields = replace(click_fields, weight="worth")
    loaded = load_clicks(
        ClickTableSource(fields=fields, path=str(click_csv)), RandomRows(), tmp_path
    )
    made = loaded.data.encoded
    batch = ClickSet(made, "val").__getitems__([3, 0])
    rows = made.val[[3, 0]]
    assert batch.example.tolist() == [3, 0]
    np.testing.assert_array_equal(batch.rows.ids.numpy(), made.ids[rows])
    np.testing.assert_array_equal(batch.rows.values.numpy(), made.values[rows])
    np.testing.assert_array_equal(batch.label.numpy(), made.label[rows])
    assert batch.weight is not None
    assert made.weight is not None
    np.testing.assert_array_equal(batch.weight.numpy(), made.weight[rows])
    data = ClickData(encoded=made, seed=1, batch_size=64)
    seen = [batch.example for batch in data.loader("train")]
    assert sorted(np.concatenate(seen).tolist()) == list(range(len(made.train)))
    assert seen[0].tolist() != sorted(seen[0].tolist())


WORDS = [("on", "off"), ("pos", "neg"), ("Positive", "Negative"), ("Y", "N"), ("click", "no_click"), (True, False)]  # fmt: skip


@pytest.mark.parametrize(("yes", "no"), WORDS)
def test_labels_that_are_words_are_read(yes: Any, no: Any, tmp_path: Path) -> None:
    label = [yes if label else no for label in TABLE["label"]]
    assert encoded(tmp_path, TABLE | {"label": label}).label.tolist() == TABLE["label"]


@pytest.mark.parametrize(
    ("yes", "no", "said"),
    [
        (1, -1, "There are -1, 1: data.fields.positive_from=1 takes 1 for a click."),
        (2, 1, "There are 1, 2: data.fields.positive_from=2 takes 2 for a click."),
        (1, None, "Write 0 or 1 where it is empty, or leave such rows out: data.invalid=drop."),
        ("view", "buy", "There are buy, view: write 1 for a click and 0 for none."),
        (5, 3.5, "There are 3.5, 5: data.fields.positive_from=5 takes 5 for a click."),
    ],
)
def test_labels_that_are_not_read_are_told_with_what_to_do(
    yes: Any, no: Any, said: str, tmp_path: Path
) -> None:
    label = [yes if label else no for label in TABLE["label"]]
    with pytest.raises(UserError, match=re.escape(said)):
        encoded(tmp_path, TABLE | {"label": label})
