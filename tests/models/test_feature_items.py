"""Items known by columns of the catalogue: each vector by hand, and what is not known says nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose

from lightning_rec.adapters.whole import Frozen
from lightning_rec.data.split import Schema
from lightning_rec.errors import UserError
from lightning_rec.items.base import Reading, item_node
from lightning_rec.items.features import Features
from lightning_rec.models.items.features import FREQUENCIES, FeatureItems, moved_waves

DIM = 4
CATALOGUE = pl.DataFrame(
    {
        "item": ["a", "b", "c", "d", "e", "f"],
        "title": ["one", "two", "three", "four", "five", "six"],
        "genres": [["x", "y"], ["y"], ["x", "z"], [], None, ["y", "cold"]],
        "tags": ["p|q", "q", "p | q", "", None, "q|q"],
        "brand": [7, 7, 8, 8, None, 9],
        "year": [1990, 1991, 1994, None, 1999, 2001],
        "text": ["all", "of", "these", "are", "quite", "new"],
    }
)
TRAINED = 5  # f has no training events


def reading(catalogue: pl.DataFrame = CATALOGUE, **settings: Any) -> Reading:
    return Reading(catalogue, catalogue["item"], TRAINED, Path(), Frozen(), **settings)


def made(node: Features, of: Reading, seed: int = 0) -> FeatureItems:
    schema = Schema(len(of.catalogue), 3, 1)
    encoder = node.described(schema, DIM, of)
    assert isinstance(encoder, FeatureItems)
    torch.manual_seed(seed)
    encoder.read()
    return encoder.eval()


def waves(encoder: FeatureItems, value: float, column: int = 0) -> np.ndarray:
    """The vector of a number, in numpy."""
    frequency = encoder.frequencies[column].detach().double().numpy()
    weight = encoder.of_numbers[column].detach().double().numpy()
    angle = 2 * np.pi * value * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)]) @ weight


def test_each_vector_is_the_sum_of_means_of_categories_and_waves_of_numbers() -> None:
    node = Features(["genres", "tags", "brand", "year"], categories=["brand"], min_items=1)
    encoder = made(node, reading())
    assert encoder.frequencies.shape == (1, FREQUENCIES)
    # Rows of the table: by column, and then by text.
    row = {("genres", v): n for n, v in enumerate(["cold", "x", "y", "z"])}
    row |= {("tags", v): 4 + n for n, v in enumerate("pq")}
    row |= {("brand", v): 6 + n for n, v in enumerate("789")}
    table = encoder.categories.weight.detach().double().numpy()
    assert table.shape == (9, DIM)
    has: list[list[list[tuple[str, str]]]] = [
        [[("genres", "x"), ("genres", "y")], [("tags", "p"), ("tags", "q")], [("brand", "7")]],
        [[("genres", "y")], [("tags", "q")], [("brand", "7")]],
        [[("genres", "x"), ("genres", "z")], [("tags", "p"), ("tags", "q")], [("brand", "8")]],
        [[("brand", "8")]],
        [],
        [[("genres", "y"), ("genres", "cold")], [("tags", "q")], [("brand", "9")]],
    ]
    years = np.array([1990, 1991, 1994, np.nan, 1999, 2001])
    scaled = (years - np.nanmean(years)) / np.nanstd(years)
    found = encoder.table().detach().double().numpy()
    for item, columns in enumerate(has):
        expected = np.zeros(DIM)
        for values in columns:
            expected += np.mean([table[row[value]] for value in values], axis=0)
        if item != 3:
            expected += waves(encoder, scaled[item])
        assert_allclose(found[item], expected, atol=1e-6)
    assert_allclose(table[[row["genres", "cold"], row["brand", "9"]]], 0)  # of no trained item
    assert (table[row["genres", "y"]] != 0).all()
    assert encoder(torch.tensor([6]))[0].abs().sum() == 0  # padding


def test_categories_that_few_items_have_are_left_out_and_columns_of_names_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    encoder = made(Features(min_items=2), reading())
    # genres x and y, tags p and q; brand and year are numbers; titles and text are left out.
    assert encoder.categories.weight.shape == (4, DIM)
    assert encoder.numbers.shape == (6, 2)
    assert "leaves out text" in caplog.text
    assert "genres (2 categories), tags (2 categories), brand (a number), year (a number)" in (
        caplog.text
    )


def test_bins_are_equally_frequent_and_empty_ones_give_nothing() -> None:
    encoder = made(Features(["year"], bins=2, min_items=1), reading())
    table = encoder.categories.weight
    assert table.shape == (2, DIM)
    low, none, high = encoder.table()[[0, 3, 5]]
    torch.testing.assert_close(low, table[0])
    torch.testing.assert_close(high, table[1])
    assert none.abs().sum() == 0


def test_concatenated_columns_go_through_one_map() -> None:
    encoder = made(Features(["genres", "year"], joined="concat", min_items=1), reading())
    assert encoder.join is not None
    codes = torch.arange(6)
    parts = torch.cat([encoder._of_categories(codes), encoder._of_numbers(codes)], dim=1)
    assert parts.shape == (6, 2, DIM)
    torch.testing.assert_close(encoder.table(), encoder.join(parts.flatten(1)))


def test_new_items_take_the_rows_of_values_that_training_knew() -> None:
    node = Features(["genres", "year"], min_items=1)
    encoder = made(node, reading())
    new = pl.DataFrame(
        {"item": ["n", "m"], "genres": [["z", "never"], ["never"]], "year": [1994, None]},
        schema_overrides={"year": pl.Int64},
    )
    both = pl.concat([CATALOGUE, new], how="diagonal")
    known = Reading(both, both["item"], len(CATALOGUE), Path(), Frozen(), restoring=True)
    later = made(node, known, seed=1)
    later.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(later.table()[:6], encoder.table())
    table = encoder.categories.weight
    year = encoder.table()[2] - (table[1] + table[3]) / 2  # c has x and z, and the same year
    torch.testing.assert_close(later.table()[6], table[3] + year)
    assert later.table()[7].abs().sum() == 0


def test_new_items_change_nothing_of_others() -> None:
    catalogue = pl.DataFrame(
        {"item": ["a", "b", "c"], "kind": ["bb;cc", "dd", "cc"], "price": ["1.5", "2", ""]}
    )
    node = Features(["kind", "price"], min_items=1)
    encoder = made(node, reading(catalogue))
    new = pl.DataFrame({"item": ["n"], "kind": ["cc|dd"], "price": ["dear"]})
    both = pl.concat([catalogue, new])
    known = Reading(both, both["item"], 3, Path(), Frozen(), restoring=True)
    later = made(node, known, seed=1)
    later.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(later.table()[:3], encoder.table()[:3])
    assert later.table()[3].abs().sum() == 0  # nothing of it was known, and its price is a word


@pytest.mark.parametrize("columns", [None, ["year", "brand"]])
def test_numbers_of_a_csv_are_numbers(columns: list[str] | None) -> None:
    """A catalogue in CSV comes as text; half of the items or more have a year of their own."""
    texts = CATALOGUE.select("item", pl.col("year", "brand").cast(pl.String).fill_null(""))
    plain = CATALOGUE.select("item", pl.col("year", "brand"))
    node = Features(columns, categories=["brand"], min_items=1)
    one, other = (node.read_features(reading(of)) for of in (texts, plain))
    assert one.numbers.shape == (6, 1)
    assert one.size == 3
    torch.testing.assert_close(one.numbers, other.numbers, equal_nan=True)
    assert one.rows.equal(other.rows)
    assert one.offsets.equal(other.offsets)


def test_gradients_reach_what_a_step_reads_alone() -> None:
    encoder = made(Features(["genres", "year"], min_items=1), reading()).train()
    encoder(torch.tensor([[1, 1, 6]])).sum().backward()
    touched = encoder.categories.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [False, False, True, False]  # y
    assert encoder.of_numbers.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"columns": ["genre"]}, "no column 'genre' for item.columns"),
        ({"categories": ["brnd"]}, "no column 'brnd' for item.categories"),
        ({"id_dropout": 0.1}, "item.id_dropout"),
    ],
)
def test_what_cannot_be_read_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        Features(**settings).read_features(reading())


def test_a_catalogue_of_ids_alone_is_told() -> None:
    with pytest.raises(UserError, match=r"data\.catalogue=FILE"):
        Features().read_features(reading(CATALOGUE.select("item", "title")))


def test_it_is_a_part_of_a_sum() -> None:
    target = "lightning_rec.items."
    node = item_node(
        "item",
        {
            "_target_": f"{target}base.SumOf",
            "concat": True,
            "parts": {
                "ids": {"_target_": f"{target}base.OwnIds"},
                "features": {"_target_": f"{target}features.Features"},
            },
        },
    )
    of = reading()
    encoder = node.encoder(Schema(6, 3, 1), DIM, of)
    encoder.read()
    whole = sum(part.of_codes(torch.arange(8)) for part in encoder.parts.values())
    torch.testing.assert_close(encoder.of_codes(torch.arange(8)), whole)  # before it learns
    assert encoder(torch.tensor([6])).abs().sum() == 0


def of_numbers(*values: float, known: int | None = None) -> FeatureItems:
    about = pl.DataFrame({"item": [f"i{n}" for n in range(len(values))], "price": values})
    of = Reading(about, about["item"], known or len(values), Path(), Frozen(),
                 restoring=known is not None)  # fmt: skip
    return made(Features(["price"]), of)


@pytest.mark.parametrize("new", [1e39, -1e300])
def test_a_number_far_from_all_that_was_known_has_a_vector(new: float) -> None:
    encoder = of_numbers(*map(float, range(10)), new, known=10)
    assert encoder.table().isfinite().all()
    assert encoder.table()[:10].equal(of_numbers(*map(float, range(10))).table())


def test_numbers_whose_squares_are_beyond_floats_are_told_apart() -> None:
    huge, small = of_numbers(*(n * 1e200 for n in range(9))), of_numbers(*map(float, range(9)))
    torch.testing.assert_close(huge.numbers, small.numbers)


def test_an_item_without_features_is_told_whatever_the_bias_of_their_map() -> None:
    about = pl.DataFrame(
        {"item": list("abcd"), "kind": ["x", "x", None, None], "n": [1, 2, 3, None]}
    )
    of = Reading(about, about["item"], 4, Path(), Frozen())
    encoder = made(Features(["kind", "n"], joined="concat"), of)
    assert encoder.join is not None
    torch.nn.init.ones_(encoder.join.bias)  # as training leaves it: not 0
    assert encoder.told_of(torch.arange(4)).tolist() == [True, True, True, False]


def test_waves_of_numbers_that_are_scaled_otherwise_give_the_same_vectors() -> None:
    values = torch.tensor([0.0, 3.0, -7.5, 40.0], dtype=torch.float64)
    then, now = torch.tensor([[2.0, 5.0]]).double(), torch.tensor([[-1.0, 12.0]]).double()
    encoder = of_numbers(*map(float, range(9)))
    frequencies, weights = moved_waves(encoder.frequencies, encoder.of_numbers, then, now)
    was = [waves(encoder, float((each - 2) / 5)) for each in values]
    encoder.frequencies.data.copy_(frequencies)
    encoder.of_numbers.data.copy_(weights)
    assert_allclose([waves(encoder, float((each + 1) / 12)) for each in values], was, atol=1e-6)
