"""One rule of ids, whatever form they come in."""

from typing import Any

import polars as pl
import pytest

from lightning_rec.data.ids import MISSING, ids_of


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["12", "12.0", "12.", " 12 ", "12.00", "\t12\n"], ["12"] * 6),
        ([12, 0, -3], ["12", "0", "-3"]),
        ([12.0, 2.5, float("nan"), None, float("inf"), 1e20], ["12", "2.5", None, None, None, None]),
        (["007", "007.0", "7", "1.50", "1e3", "-0", "v1.0"], ["007", "007.0", "7", "1.50", "1e3", "-0", "v1.0"]),
        (["Ame\u0301lie", "Am\u00e9lie", "\u00a0Am\u00e9lie"], ["Am\u00e9lie"] * 3),
        ([*MISSING, "  ", " null ", None], [None] * (len(MISSING) + 3)),
        (["nullable", "Nancy", "Nona", "na"], ["nullable", "Nancy", "Nona", "na"]),
        ([9007199254740993, 2**63 - 1], ["9007199254740993", "9223372036854775807"]),
        ([True, False], ["true", "false"]),
    ],
)  # fmt: skip
def test_ids_are_told_by_one_rule(values: list[Any], expected: list[str | None]) -> None:
    assert ids_of(pl.Series("id", values)).to_list() == expected


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int64, pl.Float32, pl.Float64, pl.Decimal(10, 2), pl.Categorical])  # fmt: skip
def test_a_whole_number_is_one_id_in_any_type(dtype: Any) -> None:
    column = pl.Series("id", ["12", None, "0"])
    number = column if dtype == pl.Categorical else column.cast(pl.Int8)
    found = ids_of(number.cast(dtype))
    assert found.to_list() == ["12", None, "0"]
    assert found.name == "id"


@pytest.mark.parametrize(("dtype", "bound"), [(pl.Float32, 2**24), (pl.Float64, 2**53)])
def test_floats_that_neighbours_share_are_no_ids(dtype: Any, bound: int) -> None:
    column = pl.Series("id", [bound - 1, bound, bound + 1], dtype=pl.Int64).cast(dtype)
    assert ids_of(column).to_list() == [str(bound - 1), None, None]


def test_numbers_as_a_spreadsheet_rounds_them_are_no_ids() -> None:
    column = pl.Series("id", ["1.23457E+11", "1.2e+05", "1e3", "3E5", "v1.2e+05"])
    assert ids_of(column).to_list() == [None, None, "1e3", "3E5", "v1.2e+05"]
