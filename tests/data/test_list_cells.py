"""Lists in a cell are read whatever way they are written."""

import polars as pl
import pytest

from lightning_rec.data.lists import is_list, lists


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[5, 7, 9]", ["5", "7", "9"]),
        ("[5]", ["5"]),
        ("[5 7\n 9]", ["5", "7", "9"]),
        ("(5, 7)", ["5", "7"]),
        ("['Action', 'Drama']", ["Action", "Drama"]),
        ('["a, b", "c"]', ["a, b", "c"]),
        (r"""["it's", "a \"b\""]""", ["it's", 'a "b"']),
        ("5|7", ["5", "7"]),
        ("5; 7", ["5", "7"]),
        ("New York, Rome", ["New York", "Rome"]),
        (" 5 7 ", ["5", "7"]),
        ("5", ["5"]),
        ("[]", []),
        ("", []),
        (None, None),
        ("[5, 7", None),
        ("5, 7]", None),
        ("[1 2 ... 8 9]", None),
        ("['wait...', 'x']", ["wait...", "x"]),
    ],
)
def test_lists_are_read(cell: str | None, expected: list[str] | None) -> None:
    column = pl.Series("cell", [cell], dtype=pl.String)
    found = column.to_frame().select(lists(pl.col("cell"), column.dtype)).to_series()
    assert found.to_list() == [expected]


def test_lists_of_numbers_are_text() -> None:
    column = pl.Series("cell", [[5, 7], []])
    found = column.to_frame().select(lists(pl.col("cell"), column.dtype)).to_series()
    assert found.to_list() == [["5", "7"], []]


def test_a_list_is_told_by_its_brackets() -> None:
    assert [is_list(value) for value in ("[1]", " ['a'] ", "a|b", "[1", 5)] == [True, True] + [
        False
    ] * 3
