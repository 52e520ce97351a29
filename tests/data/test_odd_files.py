"""Files as other programs write them: read as they are meant, or refused with what to do."""

import csv
import io
import shlex
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from omegaconf import OmegaConf

from lightning_rec import cli, config
from lightning_rec.data.check import check_file
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.pipeline import load_clicks
from lightning_rec.data.clicks.splits import RandomRows
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError

COLUMNS = ["user", "item", "time", "rating", "clicked"]
FIRST = 1_291_206_600  # 2010-12-01 12:30 UTC
ROWS = [(f"{n % 7}", f"{n % 5 + 10}", FIRST + 43200 * n, n % 9 / 2, n % 2) for n in range(40)]
WANTED = [row[:4] for row in ROWS]
FIELDS = Fields(categorical=("user", "item"), numeric=("rating",), label="clicked", time="time")


def text(rows: list[Any] = ROWS, sign: str = ",", head: bool = True, **way: Any) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=sign, lineterminator="\n", **way).writerows(
        [COLUMNS] * head + [list(row) for row in rows]
    )
    return stream.getvalue().encode()


def with_(place: int, change: Any) -> list[Any]:
    return [(*row[:place], change(row[place]), *row[place + 1 :]) for row in ROWS]


def proposed(path: Path) -> dict[str, Any]:
    """The config of the line that 'data check' prints."""
    report = check_file(path)
    assert report.command is not None, report.errors
    node = config.plain(config.compose(shlex.split(report.command)[2:]).data)
    assert isinstance(node, dict)
    return node


def read(path: Path, node: dict[str, Any]) -> list[Any]:
    source = config.build("data", node)
    events = source.read(source.files()).interactions.collect()
    names = ["user", "item", "timestamp", "rating"]
    return events.select(name for name in names if name in events.columns).rows()


def made(name: str, content: bytes, folder: Path) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


ARROW = io.BytesIO()
pl.DataFrame(ROWS, schema=COLUMNS, orient="row").write_ipc(ARROW, compression="zstd")
BARE = [(*row[:2], row[3], row[2]) for row in ROWS]  # as MovieLens has it
JSON = pl.DataFrame(ROWS, schema=COLUMNS, orient="row").write_ndjson().encode()


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("log.csv", text().replace(b"\n", b"\r"), {}),
        ("log.csv", text().replace(b"\n", b"\r").replace(b"\r", b"\n", 1), {}),
        ("log.dat", text(BARE, head=False).replace(b"\n", b"\r"), {"columns": ["user", "item", "rating", "time"]}),
        ("log.csv", text().replace(b"user,item", b" user , item "), {}),
        ("log.csv", text().decode().encode("utf-32"), {"encoding": "utf-32"}),
        ("log.csv", text().decode().encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("log.csv", text().decode().encode("utf-16-be"), {"encoding": "utf-16-be"}),
        ("log.jsonl", b"\xef\xbb\xbf" + JSON, {}),
        ("log.feather", ARROW.getvalue(), {}),
        ("log.csv", text(with_(3, lambda rating: f" {rating} " if rating > 1 else " False" if rating == 0 else "TRUE" if rating == 1 else rating)), {}),
        ("log.csv", text(with_(3, lambda rating: str(rating).replace(".", ",")), ";"), {"decimal": "comma"}),
        ("log.csv", text(with_(3, lambda rating: str(rating).replace(".", ","))), {"decimal": "comma"}),
    ],
    ids=["CR", "CR but for the header", "CR alone", "blanks in the header", "UTF-32", "UTF-16-LE", "UTF-16-BE", "mark of JSON", "Arrow", "blanks", "decimal comma", "quoted comma"],
)  # fmt: skip
def test_files_are_read_as_they_are_meant(
    name: str, content: bytes, settings: dict[str, Any], tmp_path: Path
) -> None:
    path = made(name, content, tmp_path)
    node = proposed(path)
    assert {key: node[key] for key in settings} == settings
    assert read(path, node) == WANTED
    if node["columns"] is None:
        plain = made("plain.csv", text(), tmp_path)
        loaded = [
            load_clicks(ClickTableSource(fields=FIELDS, path=str(file), name="log", **way), RandomRows(0.2, 0.2), tmp_path)
            for file, way in ((plain, {}), (path, settings))
        ]  # fmt: skip
        assert loaded[0].data_hash == loaded[1].data_hash


def moment(form: str, hours: float = 0) -> list[Any]:
    zone = timezone(timedelta(hours=hours))
    return with_(2, lambda time: datetime.fromtimestamp(time, zone).strftime(form))


@pytest.mark.parametrize(
    ("form", "hours"),
    [
        ("%a, %d %b %Y %H:%M:%S +0000", 0), ("%a, %d %b %Y %H:%M:%S GMT", 0), ("%d %b %Y %H:%M:%S %z", 2),
        ("%a %b %d %H:%M:%S +0000 %Y", 0), ("%a %b %d %H:%M:%S %Y", 0),
        ("%a %b %d %Y %H:%M:%S GMT%z (CET)", 1), ("%d-%b-%y %H:%M", 0), ("%d-%b-%Y %I:%M:%S %p", 0),
        ("%B %d, %Y %H:%M", 0), ("%d/%b/%Y:%H:%M:%S +0000", 0), ("%m/%d/%Y, %I:%M:%S %p", 0), ("%d.%m.%Y, %H:%M", 0),
        ("%Y-%m-%dT%H:%M:%SZ[UTC]", 0), ("%Y%m%dT%H%M%SZ", 0), ("%Y%m%d%H%M%S", 0),
    ],
)  # fmt: skip
def test_times_as_mails_tweets_servers_and_spreadsheets_have_them(
    form: str, hours: float, tmp_path: Path
) -> None:
    path = made("log.csv", text(moment(form, hours)), tmp_path)
    assert read(path, proposed(path)) == WANTED


@pytest.mark.parametrize(
    ("form", "settings", "expected"),
    [
        ("%Y-%m-%d %H:%M:%S EST", {}, r"line 2: '2010-12-01 12:30:00 EST' .* Names of time zones are not read"),
        ("%Y-%m-%d %H:%M:%S EST", {"time_format": "%Y-%m-%d %H:%M:%S %Z"}, "%Z is not read"),
        ("%y-%m-%d", {}, "may begin with the year: say data.time_format=%y-%m-%d"),
        ("%d-%b-%y", {"time_format": "%d-%b-%Y"}, "is no time .* to be one of data.time_format=%d-%b-%Y"),
    ],
)  # fmt: skip
def test_times_that_can_be_read_in_two_ways_are_refused(
    form: str, settings: dict[str, str], expected: str, tmp_path: Path
) -> None:
    path = made("log.csv", text(moment(form)), tmp_path)
    with pytest.raises(UserError, match=expected):
        TableSource(str(path), "user", "item", "time", **settings).read([path])


BOOK = io.BytesIO()
with zipfile.ZipFile(BOOK, "w") as _archive:
    _archive.writestr("[Content_Types].xml", "<x/>")
    _archive.writestr("xl/workbook.xml", "<x/>")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (BOOK.getvalue(), "is an Excel workbook or the like, which is not read: save its sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "is an Excel workbook or the like"),
        (b"\0" * 257 + b"ustar\0" + b"\0" * 300, "is a tar archive, which is not read: unpack it"),
        (b"\x28\xb5\x2f\xfd" + b"\0" * 9, "is packed by Zstandard, which is not read: unpack it"),
        (b"\x80\x04\x95" + b"\0" * 9, "is a pickle, which is not read: write the table as Parquet"),
        (b"ORC\0\1", "is ORC, which is not read"),
        (b"<!DOCTYPE html><p>404</p>", "is a web page, which is not read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, which is not read: fetch"),
        (b"# made by hand\n" + text(), "Does the table begin further down? Remove what stands above"),
        (text([(at, *row) for at, row in enumerate(ROWS)]), "line 2 has 6 fields where the header has 5. Are the first fields names of rows, as R"),
        (text([(*row, "") for row in ROWS]), "line 2 has 6 fields where the header has 5. Remove the separators"),
        (b'user,item,ts\n"1,2","a" , 3\n', "line 2: field 2 has blanks between its quote and what parts it from the next ('\"a\" ')"),
        (text() + b"9,9,9,9,9\r8,8,8,8,8\n", "line 42 has a line end within (CR, while lines end in LF)"),
        (b"{'user': 1, 'item': 'a'}\n", "line 1 is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)). It is a dict as Python prints it: write the file anew with json.dumps"),
        (b"{user: 1, item: 2}\n", 'A row is an object on a line of its own, {"user": 1, "item": "a"}: write it so.'),
        (b'{"user": 1, "item": 2}\n{"user": 1, "item": {"a": 1, "a": 2}}\n', "line 2: an object has the key 'a' twice"),
        (b'[{"user": 1, "item": 2},\n {"user": 1, "user": 2}]', "line 2: an object has the key 'user' twice"),
        (b'user,item\n1,"[5, 7"\n2,"[1, 2"\n', "line 2: '[5, 7' in column 'item' is a list that is cut off"),
        (text(with_(0, lambda user: "u" if user != "3" else 'u"')).replace(b'"u"""', b'"u'), "line 5 has a quote without its match"),
        (text(with_(3, lambda rating: f"1,{int(rating):03d}")), "line 2: '1,000' in column 'rating' is no number (40 such rows). If its comma parts off"),
        (text(with_(3, lambda rating: "1.234,5")), "'1.234,5' in column 'rating' is no number (40 such rows). Write thousands without"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_what_to_do(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    report = check_file(made("log", content, tmp_path))
    assert expected in report.errors[0]
    assert report.command is None
    assert len(set(report.errors)) == len(report.errors)


def test_a_header_that_begins_like_a_binary_file_is_a_header(tmp_path: Path) -> None:
    path = made("log.csv", b"ORCID,item\na,x\nb,y\n", tmp_path)
    assert read(path, {**config.plain(config.compose(["data=table"]).data), "path": str(path), "user": "ORCID", "item": "item"}) == [("a", "x"), ("b", "y")]  # fmt: skip


def test_quotes_may_be_characters_as_others_are(tmp_path: Path) -> None:
    rows = text(with_(1, lambda item: f'5"{item}' if item == "11" else item), "\t", quoting=csv.QUOTE_NONE, quotechar=None)  # fmt: skip
    path = made("log.tsv", rows, tmp_path)
    node = proposed(path)
    assert node["quoted"] is False
    assert [row[1] for row in read(path, node)] == [
        '5"11' if row[1] == "11" else row[1] for row in ROWS
    ]


@pytest.mark.parametrize("sign", [",", "::"])
def test_lines_with_too_many_fields_can_be_dropped_and_are_counted(
    sign: str, tmp_path: Path
) -> None:
    lines = text(BARE if sign == "::" else ROWS, head=sign == ",").decode().splitlines()
    lines[7] += ",9"
    if sign == ",":
        lines[9] += ',"two\nlines"'
    path = made("log.csv", "\n".join(lines).replace(",", sign).encode(), tmp_path)
    report = check_file(path)
    assert "line 8 has" in report.errors[0]
    node = proposed(path)
    assert node["invalid"] == "drop"
    dropped = {6, 8} if sign == "," else {7}
    assert read(path, node) == [row for at, row in enumerate(WANTED) if at not in dropped]
    tables = config.build("data", node).read([path])
    assert tables.dropped["ragged"] == len(dropped)
    if sign == "::":
        return
    source = ClickTableSource(fields=FIELDS, path=str(path), name="log", invalid="drop")
    made_of = load_clicks(source, RandomRows(0.2, 0.2), tmp_path)
    assert made_of.facts["faulty rows left out"] == 2
    assert made_of.data.table.info["dropped"]["ragged lines"] == 2


def test_a_comma_of_thousands_is_not_taken_for_a_decimal_one(tmp_path: Path) -> None:
    path = made("log.csv", text(with_(3, lambda rating: "1.234" if rating == 4 else f"{rating}".replace(".", ","))), tmp_path)  # fmt: skip
    source = ClickTableSource(fields=FIELDS, path=str(path), name="log", decimal="comma")
    with pytest.raises(
        UserError, match=r"line 10, row 9: '1\.234 \(thousands\? data\.decimal=comma\)'"
    ):
        load_clicks(source, RandomRows(0.2, 0.2), tmp_path)


def test_items_parted_by_signs_are_proposed_as_lists(tmp_path: Path) -> None:
    path = made("log.csv", b"user,items\na,x|y\nb,y|z\nc,x\n", tmp_path)
    node = proposed(path)
    assert node["form"] == "lists"
    assert read(path, node)[:3] == [("a", "x"), ("a", "y"), ("b", "y")]


def test_faults_of_a_user_and_all_his_items_a_line_are_told_with_their_line(tmp_path: Path) -> None:
    path = made("log.txt", b"u x y z\nNULL a b\nv x y\nw z x\n", tmp_path)
    report = check_file(path)
    assert "log.txt, line 2: 'NULL' in column 'user' stands for no user id" in report.errors[0]
    assert [row[0] for row in read(path, proposed(path))] == ["u"] * 3 + ["v"] * 2 + ["w"] * 2


def test_a_list_that_is_cut_off_is_refused_or_dropped(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, schema=COLUMNS, orient="row").with_columns(tags=pl.lit("['a', 'b']"))
    frame[3, "tags"] = "[1 2 ... 8 9]"
    frame.write_csv(tmp_path / "log.csv")
    fields = Fields(categorical=("user",), multi_valued=("tags",), label="clicked")
    with pytest.raises(UserError, match=r"log\.csv, line 5: a list is cut off"):
        load_clicks(ClickTableSource(fields=fields, path=str(tmp_path / "log.csv")), RandomRows(0.2, 0.2), tmp_path)  # fmt: skip
    source = ClickTableSource(fields=fields, path=str(tmp_path / "log.csv"), invalid="drop")
    assert load_clicks(source, RandomRows(0.2, 0.2), tmp_path).counts["rows"] == 39


def test_an_id_of_signs_alone_is_asked_about(tmp_path: Path) -> None:
    path = made("log.csv", text(with_(0, lambda user: "-" if user == "3" else user)), tmp_path)
    assert "The user id '-' has no letter and no digit" in " ".join(check_file(path).warnings)


def schema(path: Path, folder: Path, *more: str) -> Any:
    assert cli.run(["data", "schema", str(path), f"out={folder}", "name=log", *more]) == 0
    return OmegaConf.load(folder / "data" / "log.yaml")


def test_a_schema_knows_that_there_is_no_header_and_the_encoding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[n % 2, n % 7, f"{n % 5:08x}", "Zoë"] for n in range(40)]
    content = "\n".join("\t".join(map(str, row)) for row in rows).encode("latin-1")
    node = schema(made("train.txt", content, tmp_path), tmp_path / "a")
    assert "seems to have no header" in capsys.readouterr().out
    assert node.encoding == "latin-1"
    assert len(node.columns) == 4
    assert node.fields.label == node.columns[0]
    path = made("log.dat", text(BARE, head=False), tmp_path)
    with pytest.raises(UserError, match="for ratings, positive_from=NUMBER"):
        schema(path, tmp_path / "b")
    node = schema(path, tmp_path / "b", "data.label=rating", "positive_from=3")
    assert (node.fields.label, node.fields.group, node.fields.time) == ("rating", "user", "time")
    with pytest.raises(UserError, match="a user and all his items a line, and no labels"):
        schema(made("seq.txt", b"1 2 3 4\n2 3 4\n3 1 4 5 6\n", tmp_path), tmp_path / "c")


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%d.%m.%Y", "%a %b %d %H:%M:%S +0000 %Y", "%Y-%m-%d %H:%M:%S EST"])  # fmt: skip
def test_times_are_no_features_of_a_schema(form: str, tmp_path: Path) -> None:
    node = schema(made("log.csv", text(moment(form)), tmp_path), tmp_path)
    assert node.fields.time == (None if "EST" in form else "time")
    assert "time" not in [*node.fields.categorical, *node.fields.multi_valued]


def test_columns_of_odd_types_do_not_stop_a_schema_or_a_training(tmp_path: Path) -> None:
    frame = pl.DataFrame(ROWS, schema=COLUMNS, orient="row").with_columns(
        spent=pl.duration(seconds=pl.col("rating")),
        pair=pl.concat_arr("rating", "rating").cast(pl.Array(pl.String, 2)),
        note=pl.struct("rating"),
        blob=pl.col("user").cast(pl.Binary),
    )
    path = tmp_path / "log.parquet"
    frame.write_parquet(path)
    node = schema(path, tmp_path)
    assert node.fields.multi_valued == ["pair"]
    made_of = load_clicks(ClickTableSource(fields=FIELDS, path=str(path), name="log"), RandomRows(0.2, 0.2), tmp_path)  # fmt: skip
    assert made_of.counts["rows"] == 40
    frame.with_columns(user=pl.lit(b"\xff")).write_parquet(path)
    for source in (
        TableSource(str(path), "user", "item"),
        ClickTableSource(fields=FIELDS, path=str(path)),
    ):
        with pytest.raises(UserError, match="bytes that are no UTF-8 text: write them as text"):
            source.read([path])


def test_ids_keep_their_digits_where_a_part_has_them_as_floats(tmp_path: Path) -> None:
    """Pandas writes floats where a part has gaps, integers where it has none."""
    (tmp_path / "log").mkdir()
    for place, ids in enumerate((pl.Series([2**53 + 1, 7]), pl.Series([7.0, 8.0]))):
        frame = pl.DataFrame({"user": ["a", "b"], "item": ids})
        frame.write_parquet(tmp_path / "log" / f"{place}.parquet")
    source = TableSource(str(tmp_path / "log"), "user", "item")
    items = source.read(source.files()).interactions.collect()["item"]
    assert items.to_list() == [str(2**53 + 1), "7", "7", "8"]


def test_a_broken_line_makes_no_table_one_of_users_and_all_their_items(tmp_path: Path) -> None:
    lines = [f"{n % 7}::{n % 5}::{n % 4}::{FIRST + n}" for n in range(40)]
    lines[6] += "::9"
    node = proposed(made("ratings.dat", "\n".join(lines).encode(), tmp_path))
    assert (node["form"], node["invalid"]) == ("rows", "drop")
    assert node["columns"] == ["user", "item", "rating", "time"]
