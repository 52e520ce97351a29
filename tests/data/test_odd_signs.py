"""Signs that nobody sees, headers that mislead, and text in other encodings."""

from pathlib import Path

import pytest

from lightning_rec.data.check import check_file
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import prepare_clicks
from lightning_rec.data.dialect import Dialect
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.data.sources.table import TableSource
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError

HEAD = ["user", "item", "time", "rating", "clicked"]
ROWS = [[f"u{n % 7}", f"Zoë {n % 5}", 1_600_000_000 + n, n % 9 / 2, n % 2] for n in range(40)]
FIELDS = Fields(categorical=("user", "item"), numeric=("rating",), label="clicked", time="time")


def text(
    sign: str = ",", around: str = "", rows: list[list[object]] = ROWS, head: list[str] = HEAD
) -> str:
    lines = [sign.join(f"{around}{value}{around}" for value in row) for row in [head, *rows]]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"


def hashes(folder: Path, content: str | bytes) -> tuple[str, str]:
    """Of the file as a log and as a table of clicks."""
    path = folder / "log.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    log = TableSource(str(path), "user", "item", "time", "rating", name="log")
    clicks = ClickTableSource(fields=FIELDS, path=str(path), name="log")
    return (
        prepare(log, folder).info["data_hash"], prepare_clicks(clicks, folder).info["data_hash"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        *(text(around=sign) for sign in "\u200b\ufeff\u200e\u00a0\u202f\u2060\u00ad\u3000"),
        text(rows=[[row[0], str(row[1]).replace(" ", "\u00a0"), *row[2:]] for row in ROWS]),
        text(rows=ROWS[:9]) + "\ufeff" + text(rows=ROWS[9:]).split("\n", 1)[1],
        "sep=;\n" + text(";"),
        '\ufeff"sep=;"\r\n' + text(";").replace("\n", "\r\n"),
        "sep=^\n" + text("^"),
    ],
)
def test_what_nobody_sees_makes_no_other_table(content: str, tmp_path: Path) -> None:
    assert hashes(tmp_path, content) == hashes(tmp_path, text())


def test_blanks_and_signs_within_an_id_count(tmp_path: Path) -> None:
    rows = [[row[0], str(row[1]).replace(" ", "  "), *row[2:]] for row in ROWS]
    assert hashes(tmp_path, text(rows=rows)) != hashes(tmp_path, text())


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\n"])
def test_a_field_of_the_first_line_may_hold_what_ends_lines_elsewhere(
    end: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f'u1,i1,"Foo{end}Bar",5\nu2,i2,Baz,4\n', encoding="utf-8")
    table = open_table(path, Dialect(columns=["user", "item", "title", "rating"]))
    assert table.collect(table.frame)["title"].to_list() == [f"Foo{end}Bar", "Baz"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (text(head=["user", "item", "item ", "time", "clicked"]), r"several columns 'item' \(fields 2, 3\)"),
        (text(rows=ROWS[:9]) + text(rows=ROWS[9:]), "line 11 repeats the header"),
        (text(head=["USER", *HEAD[1:]]), "Did you mean 'USER'"),
        (text().replace("Zoë", "電影").encode("gb18030"), "line 2 is not UTF-8 text .*gb18030 reads '電影 0'"),
        (text().replace("Zoë", "映画").encode("shift_jis"), "shift_jis reads '映画 0'"),
        (text().replace("Zoë", "電影").encode("big5"), "big5 reads '電影 0'"),
        (text().replace("Zoë", "Зоя").encode("cp1251"), "cp1251 reads 'Зоя 0'"),
        (text().encode("latin-1"), r"data.encoding=latin-1 \(which reads 'Zoë 0'\)"),
        (text().replace("ë", "ë\u2019s").encode("cp1252"), "not UTF-8"),
    ],
)  # fmt: skip
def test_what_misleads_is_told(content: str | bytes, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        hashes(tmp_path, content)


def test_text_in_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(text().encode())
    warnings = check_file(path, encoding="latin-1").warnings
    assert any("line 2: 'ZoÃ« 0' in column 'item' looks like UTF-8" in told for told in warnings)
    path.write_bytes(text().replace("Zoë", "Zoe\u2019s").encode("cp1252"))
    report = check_file(path)
    assert any(
        "data.encoding=cp1252 (which reads 'Zoe\u2019s 0')" in told for told in report.warnings
    )
    warnings = check_file(path, encoding="latin-1").warnings
    assert any("try data.encoding=cp1252" in told for told in warnings)
    path.write_bytes(text().encode())
    items = tmp_path / "items.csv"
    items.write_text("item,title\nZoë 0,AmÃ©lie\n")
    warnings = check_file(path, catalogue=str(items)).warnings
    assert any("'AmÃ©lie' in column 'title' looks like UTF-8" in told for told in warnings)
    assert not any("looks like UTF-8" in told for told in check_file(path).warnings)


def test_names_that_differ_in_case_alone_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text(head=["user", "item", "time", "rating", "Item"]))
    warnings = check_file(path).warnings
    assert "Column 'item' is the item, not Item: they differ in case alone." in warnings
