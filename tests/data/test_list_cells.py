"""Lists in a cell are read whatever way they are written."""

import polars as pl
import pytest

from lightning_rec.data.clicks.cells import sequences
from lightning_rec.data.lists import is_list, lists, unreadable


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
        ("array([5, 7])", None),
        ("WrappedArray(5, 7)", None),
        ("{5, 7}", ["5", "7"]),
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


@pytest.mark.parametrize(
    ("cell", "faulty"),
    [
        ("{5,7}", True),
        ("{'a', 'b'}", True),
        ("(5, 7)", True),
        ("('a', 'b')", True),
        ("array([5, 7], dtype=int64)", True),
        ("[5, 7]", False),
        ("(no genres listed)", False),
        ("(2001)", False),
        ("(500) Days of Summer|Drama", False),
        ("5|7", False),
        ("", False),
        (None, None),
    ],
)
def test_other_brackets_stay_in_no_value_where_a_separator_parts_them(
    cell: str | None, faulty: bool | None
) -> None:
    column = pl.Series("cell", [cell], dtype=pl.String)
    found = column.to_frame().select(unreadable(pl.col("cell"), parted=True)).to_series()
    assert found.to_list() == [faulty]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[1_000, 0x10, 1e3, 1.50, 007]", ["1_000", "0x10", "1e3", "1.50", "007"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("['a' None 'b']", ["a", "b"]),
        ("[True, false, null, NaN]", ["True", "false"]),
        ('["Am\\u00e9lie", "a\\/b"]', ["Amélie", "a/b"]),
        ('["\\ud83d\\ude00"]', ["\U0001f600"]),
        (r"['Am\xe9lie', 'it\'s', 'C:\\new']", ["Amélie", "it's", r"C:\new"]),
        ("[u'Action', b'Drama']", ["Action", "Drama"]),
        ("[1, 'a, b', c]", ["1", "a, b", "c"]),
        ("['x [1]', 'y']", ["x [1]", "y"]),
        ("[O'Neil, x]", ["O'Neil", "x"]),
        ("\u200b[1, 2]\u00a0", ["1", "2"]),
        ("[[1, 2], [3]]", None),
        ("[1, [2, 3]]", None),
        ("[(1, 2), (3, 4)]", None),
        ("[{'id': 1}]", None),
    ],
)
def test_literals_are_read_as_they_were_written(cell: str, expected: list[str] | None) -> None:
    column = pl.Series("cell", [cell])
    found = column.to_frame().select(sequences(pl.col("cell"), column.dtype, "|")).to_series()
    assert found.to_list() == [expected]
