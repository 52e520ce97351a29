"""A user's own table: every form it may have, and every fault told by file and line."""

import gzip
import os
import shutil
import zipfile
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec.data.filters import filtered
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError

LOG = "uid,sku,ts,stars\n007,x,1600000000,4\nb,y,1600000005,5\n007,y,1600000009,3.5\n"
ROWS = [(0, 0, 1600000000, 4.0), (1, 1, 1600000005, 5.0), (0, 1, 1600000009, 3.5)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def source(path: Path, **settings: Any) -> TableSource:
    return TableSource(
        **(
            {"path": str(path), "user": "uid", "item": "sku", "time": "ts", "rating": "stars"}
            | settings
        )
    )


def prepared(path: Path, **settings: Any) -> Interactions:
    return prepare(source(path, **settings), path.parent / "cache")


def fault(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        prepared(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_file(folder: Path, form: str) -> Path:
    frame = pl.read_csv(LOG.encode(), schema_overrides={"uid": pl.String})
    path = folder / f"log.{form}"
    if form in ("csv", "tsv"):
        path.write_text(LOG.replace(",", "\t" if form == "tsv" else ","))
    elif form.endswith(".gz"):
        path.write_bytes(gzip.compress(LOG.replace(",", "\t" if "tsv" in form else ",").encode()))
    elif form == "parquet":
        frame.write_parquet(path)
    else:
        path.mkdir()
        frame.head(1).write_parquet(path / "part-0.parquet")
        frame.slice(1).write_parquet(path / "part-1.parquet")
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "tsv.gz", "parquet", "folder"])
def test_every_form_gives_the_same_data(tmp_path: Path, form: str) -> None:
    data = prepared(as_file(tmp_path, form))
    assert data.events.collect().rows() == ROWS
    assert data.events.collect_schema() == {
        "user": pl.Int32,
        "item": pl.Int32,
        "timestamp": pl.Int64,
        "rating": pl.Float32,
    }
    assert data.users["user"].to_list() == ["007", "b"]
    assert data.info["data_hash"] == prepared(as_file(tmp_path, "csv")).info["data_hash"]
    assert data.info["name"] == "log"


def test_time_and_rating_are_optional(log: Path) -> None:
    data = prepared(log, time=None, rating=None)
    assert data.events.collect().rows() == [row[:2] for row in ROWS]
    assert data.info["first_timestamp"] is None


@pytest.mark.parametrize(
    "content",
    [LOG.replace("\n", "\r\n"), "\ufeff" + LOG, LOG + "\n\n", LOG.replace("b,y", '"b",y')],
)
def test_line_ends_marks_quotes_and_trailing_blank_lines(log: Path, content: str) -> None:
    log.write_bytes(content.encode())
    assert prepared(log).events.collect().rows() == ROWS


@pytest.mark.parametrize(
    "values",
    [
        [1600000000, 1600000001],
        [1600000000000, 1600000001999],
        ["1600000000.25", "1600000001.75"],
        ["2020-09-13T12:26:40Z", "2020-09-13T12:26:41Z"],
        ["2020-09-13 12:26:40", "2020-09-13 12:26:41.5"],
        ["2020-09-13T14:26:40+02:00", "2020-09-13T10:26:41.999-0200"],
        ["2020-09-13 12:26:40", "2020-09-13T12:26:41Z"],
        [datetime(2020, 9, 13, 12, 26, 40), datetime(2020, 9, 13, 12, 26, 41, 500)],
        [datetime(2020, 9, 13, 14, 26, second, tzinfo=timezone(timedelta(hours=2))) for second in (40, 41)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_forms_of_time(tmp_path: Path, values: list[Any], form: str) -> None:
    frame = pl.DataFrame({"uid": ["a", "b"], "sku": ["x", "y"], "ts": values})
    path = tmp_path / f"log.{form}"
    frame.write_parquet(path) if form == "parquet" else frame.write_csv(path)
    data = prepared(path, rating=None)
    assert data.events.collect()["timestamp"].to_list() == [1600000000, 1600000001]


@pytest.mark.parametrize(
    "values",
    [
        ["2020-09-13", "2020-09-14"],
        [date(2020, 9, 13), date(2020, 9, 14)],
        ["2020-09-13 00:00", "2020-09-14T00:00Z"],
    ],
)
def test_days_and_minutes(tmp_path: Path, values: list[Any]) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"uid": ["a", "b"], "sku": ["x", "y"], "ts": values}).write_parquet(path)
    assert prepared(path, rating=None).events.collect()["timestamp"].to_list() == [
        1599955200,
        1600041600,
    ]


def test_time_unit_can_be_said(log: Path) -> None:
    log.write_text("uid,sku,ts,stars\na,x,0,1\na,y,1600000000000,1\n")
    assert "time_unit" in fault(log)
    assert prepared(log, time_unit="ms").events.collect()["timestamp"].to_list() == [0, 1600000000]
    assert "ms in the other" in fault(log)


def test_ids_of_any_type(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"uid": [7, 8], "sku": [1.0, 2.5]}).write_parquet(path)
    data = prepared(path, time=None, rating=None)
    assert data.users["user"].to_list() == ["7", "8"]
    assert data.items["item"].to_list() == ["1", "2.5"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "log.csv is empty"),
        ("\n\n", "log.csv is empty"),
        ("uid,sku,ts,stars\n", "log.csv has a header but no data rows"),
        ("uid,sku,ts,stars", "log.csv has a header but no data rows"),
        (b"GIF89\0\1", "log.csv is not a text table"),
        (b"PK\3\4\0\0\0\1", "log.csv cannot be unpacked"),
        (b"uid,sku,ts,stars\na,\xe9,1,1\n", "log.csv, line 2 is not UTF-8 text (byte 0xe9): say in which encoding it is, data.encoding=latin-1"),
        ("uid,sky,ts,stars\na,x,1,1\n", "no column 'sku' for the item; it has: uid, sky, ts, stars. Did you mean 'sky'?"),
        ("uid,sku,ts,stars\na,x,1,1\n,y,2,1\n,z,2,1\n", "log.csv, line 3: the user id in column 'uid' is empty (2 such rows)"),
        ('uid,sku,ts,stars\na,"",1,1\n', "log.csv, line 2: the item id in column 'sku' is empty."),
        ("uid,sku,ts,stars\na,x,1,1\n\nb,x,1,1\n", "log.csv, line 3 is blank"),
        ("uid,sku,ts,stars\na,x,1,1\nb,y,tomorrow,1\n", "log.csv, line 3: 'tomorrow' in column 'ts' is no time."),
        ("uid,sku,ts,stars\na,x,2020-01-01,1\nb,y,2020-02-31,1\n", "log.csv, line 3: '2020-02-31' in column 'ts' is no time."),
        ("uid,sku,ts,stars\na,x,2020-01-01,1\nb,y,,1\n", "log.csv, line 3: the time in column 'ts' is empty."),
        ('uid,sku,ts,stars\na,"x\nx",1,1\nb,y,nan,1\n', "log.csv, line 4: 'nan' in column 'ts' is no time."),
        ('uid,sku,ts,stars\na,x,1,1\nb,"y\ny",nan,1\n', "log.csv, line 3: 'nan' in column 'ts' is no time."),
        ("uid,sku,ts,stars\na,x,1,good\n", "log.csv, line 2: 'good' in column 'stars' is no number."),
        ("uid,sku,ts,stars\na,x,1,1\nb,y,2,1,9\n", "log.csv, line 3 has 5 fields where the header has 4."),
        ("uid,sku,ts,stars\na,x,1,1\nb,y\n", "log.csv, line 3: the time in column 'ts' is empty. More is wrong"),
        ('uid,sku,ts,stars\na,"x,1,1\nb,y,2,1\n', "log.csv cannot be read: line 2 has a quote without its match. Where quotes are characters as others are, say data.quoted=false."),
    ],
)  # fmt: skip
def test_faults_are_told_with_file_and_line(log: Path, content: str | bytes, expected: str) -> None:
    log.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert expected in fault(log)


def test_too_many_fields_are_found_behind_the_columns_in_use(log: Path) -> None:
    log.write_text("uid,sku,ts,stars\na,x,1,1\nb,y,2,1,9\n")
    assert "line 3 has 5 fields" in fault(log, time=None, rating=None)


def test_missing_paths_have_a_nearest_name(log: Path) -> None:
    assert "Did you mean 'log.csv'?" in fault(log.with_name("lgo.csv"))
    assert "There is no file or folder" in fault(log.parent / "no" / "log.csv")


def test_a_folder_without_tables_or_of_several_kinds(log: Path) -> None:
    folder = log.parent / "log"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x.png").touch()
    assert "log has no tables (it holds: a)" in fault(folder)
    (folder / "x.csv").write_text(LOG)
    (folder / "x.jsonl").write_text("{}")
    assert "several kinds (1 of CSV, 1 of JSON lines)" in fault(folder)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    path.write_bytes(b"PAR1 and then nothing")
    assert "cannot be read as Parquet" in fault(path)
    packed = gzip.compress(
        LOG.encode() + b"".join(b"u%d,i,1600000000,1\n" % n for n in range(100_000))
    )
    path = tmp_path / "log.csv.gz"
    path.write_bytes(packed[:40])
    assert "log.csv.gz is broken" in fault(path)
    path.write_bytes(packed[:-20])
    assert "log.csv.gz is broken" in fault(path)


def test_nulls_in_parquet_are_told_with_their_part(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.mkdir()
    pl.DataFrame({"uid": ["a", "b"], "sku": ["x", "y"]}).write_parquet(path / "0.parquet")
    pl.DataFrame({"uid": ["a", None], "sku": ["x", None]}).write_parquet(path / "1.parquet")
    assert "1.parquet, row 2: the user id in column 'uid' is empty" in fault(
        path, time=None, rating=None
    )


def test_columns_that_are_not_set() -> None:
    with pytest.raises(UserError, match=r"data.path is not set"):
        TableSource()
    with pytest.raises(UserError, match=r"data.item is not set"):
        TableSource("log.csv", user="uid")


def test_catalogue_keeps_all_columns(log: Path) -> None:
    catalogue = log.with_name("items.csv")
    catalogue.write_text("id,name,brand,title\ny,Soap,B,other\nz,Comb,C,other\n")
    data = prepared(log, catalogue=str(catalogue), catalogue_item="id", catalogue_title="name")
    assert data.items.columns == ["item", "title", "brand"]
    assert data.items.rows() == [("x", None, None), ("y", "Soap", "B"), ("z", "Comb", "C")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,name\ny,Soap\ny,Comb\n", "ids must be unique, but these are not: y"),
        ("id,name\ny,Soap\n,Comb\n", "an item id is empty"),
        ("sku,name\ny,Soap\n", "items.csv has no column 'id' for data.catalogue_item; it has: sku, name."),
    ],
)  # fmt: skip
def test_faults_of_the_catalogue(log: Path, content: str, expected: str) -> None:
    catalogue = log.with_name("items.csv")
    catalogue.write_text(content)
    assert expected in fault(log, catalogue=str(catalogue), catalogue_item="id")


@pytest.mark.parametrize(
    ("log_is", "catalogue_is", "settings"),
    [
        ("cp1252", "utf-8", {}),
        ("cp1252", "cp1252", {}),
        ("utf-8", "cp1252", {"catalogue_encoding": "cp1252"}),
        ("cp1252", "cp1251", {"catalogue_encoding": "cp1251"}),
    ],
)
def test_a_catalogue_has_an_encoding_of_its_own(
    log: Path, log_is: str, catalogue_is: str, settings: dict[str, str]
) -> None:
    title = "\u041c\u044b\u043b\u043e" if catalogue_is == "cp1251" else "K\u00f6ln"
    catalogue = log.with_name("items.csv")
    catalogue.write_bytes(f"id,name\ny,{title}\n".encode(catalogue_is))
    data = prepared(log, encoding=log_is, catalogue=str(catalogue), catalogue_item="id", catalogue_title="name", **settings)  # fmt: skip
    assert title in data.items["title"].to_list()


def test_a_catalogue_in_another_encoding_is_told_by_the_key_that_is_its_own(log: Path) -> None:
    catalogue = log.with_name("items.csv")
    catalogue.write_bytes("id,name\ny,K\u00f6ln\n".encode("cp1252"))
    told = fault(log, catalogue=str(catalogue), catalogue_item="id")
    assert "items.csv, line 2 is not UTF-8 text" in told
    assert "data.catalogue_encoding=latin-1" in told


def test_ids_of_the_log_and_the_catalogue_are_of_one_kind(log: Path) -> None:
    """``12``, ``12.0`` and blanks around it, in text or as a float: one item, with its title."""
    log.write_text("uid,sku,ts\na,12,1\na, 13.0 ,2\nb,Am\u00e9lie,3\n")
    catalogue = log.with_name("items.csv")
    catalogue.write_text("id,name\n12.0,Twelve\n13,Thirteen\nAme\u0301lie,Film\n")
    settings = {"rating": None, "catalogue_item": "id", "catalogue_title": "name"}
    data = prepared(log, catalogue=str(catalogue), **settings)
    rows = [("12", "Twelve"), ("13", "Thirteen"), ("Am\u00e9lie", "Film")]
    assert (data.items.rows(), data.info["notes"]) == (rows, [])
    catalogue = log.with_name("items.parquet")
    pl.DataFrame({"id": [12.0, 13.0, None], "name": ["a", "b", "c"]}).head(2).write_parquet(
        catalogue
    )
    data = prepared(log, catalogue=str(catalogue), **settings)
    assert data.items["title"].to_list() == ["a", "b", None]
    assert (
        "of 3 items of the log the catalogue does not know 1 (Am\u00e9lie" in data.info["notes"][0]
    )


@pytest.mark.parametrize("missing", ["NULL", "nan", "None", r"\N", " ", "NA"])
def test_what_stands_for_no_id_is_none(log: Path, missing: str) -> None:
    log.write_text(f"uid,sku,ts\na,x,1\n{missing},x,2\n")
    told = "the user id in column 'uid' is empty" if missing == " " else f"'{missing}' in column"
    assert f"log.csv, line 3: {told}" in fault(log, rating=None)


def times(path: Path, values: list[Any], **settings: Any) -> list[int]:
    frame = pl.DataFrame({"uid": [f"u{n}" for n in range(len(values))], "sku": "x", "ts": values})
    frame.write_csv(path)
    return prepared(path, rating=None, **settings).events.collect()["timestamp"].to_list()


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        (["2010-12-01 08:26:00 UTC", "2010-12-01 08:27:00 UTC"], {}),
        (["2010-12-01 08:26:00+00", "2010-12-01 10:27:00+02"], {}),
        (["12/1/2010 8:26", "12/1/2010 8:27"], {"day_first": False}),
        (["1/12/2010 8:26", "1/12/2010 8:27"], {"day_first": True}),
        (["01.12.2010 08:26", "01.12.2010 08:27:00"], {}),
        (["12/1/10 8:26 AM", "12/1/10 8:27 AM"], {"day_first": False}),
        (["2010/12/1 8:26", "2010/12/1 8:27"], {}),
        (["1 Dec 2010 08.26", "1 Dec 2010 08.27"], {"time_format": "%d %b %Y %H.%M"}),
        (["201012010826", "201012010827"], {"time_format": "%Y%m%d%H%M"}),
        ([1291191960000000, 1291192020999999], {}),
        ([1291191960000000000, 1291192020000000001], {}),
        (["1291191960", "1291192020.75"], {}),
    ],
)  # fmt: skip
def test_more_forms_of_time(tmp_path: Path, values: list[Any], settings: dict[str, Any]) -> None:
    assert times(tmp_path / "log.csv", values, **settings) == [1291191960, 1291192020]


def test_the_day_comes_first_where_other_rows_tell_and_else_it_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert times(path, ["5/6/2024", "13/6/2024"]) == [1717545600, 1718236800]
    assert times(path, ["5/6/2024", "5/13/2024"]) == [1714953600, 1715558400]
    assert times(path, ["5/5/2024"]) == [1714867200]
    with pytest.raises(
        UserError, match=r"can be 2024-06-05 or 2024-05-06: say data.day_first=true"
    ):
        times(path, ["5/5/2024", "5/6/2024"])
    with pytest.raises(UserError, match=r"line 3: '6/13/2024' in column 'ts' is no time"):
        times(path, ["13/6/2024", "6/13/2024"])
    with pytest.raises(UserError, match=r"dates written as numbers .* data.time_format=%Y%m%d"):
        times(path, [20240531, 20240601])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "zip"])
def test_parts_without_times_are_read_in_natural_order(tmp_path: Path, form: str) -> None:
    (tmp_path / "log").mkdir()
    for place in range(12):
        path = tmp_path / "log" / f"part.{place}.{'csv' if form == 'zip' else form}"
        frame = pl.DataFrame({"uid": ["u"], "sku": [f"i{place}"]})
        write = {"parquet": frame.write_parquet, "jsonl": frame.write_ndjson}
        write.get(form, frame.write_csv)(path)
    path = tmp_path / "log"
    if form == "zip":
        path = Path(shutil.make_archive(str(path), "zip", path))
    data = prepared(path, time=None, rating=None)
    assert data.items["item"].to_list() == [f"i{place}" for place in range(12)]


@pytest.mark.parametrize(
    "stamps",
    [
        [1700000000900, 1700000000100, 1700000000500],
        [1700000000000000009, 1700000000000000001, 1700000000000000005],
        ["1700000000.9", "1700000000.1", "1700000000.5"],
        ["2023-11-14 22:13:20.9", "2023-11-14 22:13:20.1", "2023-11-14 22:13:20.5"],
        ["2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.123456781Z", "2023-11-14T22:13:20.123456785Z"],
        [datetime(2023, 11, 14, 22, 13, 20, fraction) for fraction in (9, 1, 5)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_fractions_of_seconds_decide_the_order(tmp_path: Path, stamps: Any, form: str) -> None:
    frame = pl.DataFrame({"uid": "u", "sku": ["third", "first", "second"], "ts": stamps})
    path = tmp_path / f"log.{form}"
    frame.write_parquet(path) if form == "parquet" else frame.write_csv(path)
    data = prepared(path, rating=None)
    assert data.items["item"].to_list() == ["first", "second", "third"]
    assert data.events.collect()["timestamp"].to_list() == [1700000000] * 3


LINES = "a x y z\nb y\n\nc x\n"


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("log.txt", LINES.replace("\n\n", "\n"), {"form": "lines", "user": None, "item": None}),
        ("log.txt", LINES.replace("\n\n", "\n").replace(" ", ","), {"form": "lines"}),
        ("log.csv", "uid,sku\na,\"['x', 'y', 'z']\"\nb,\"['y']\"\nd,[]\nc,\"['x']\"\n", {"form": "lists"}),
        ("log.csv", "uid,sku\na,x|y|z\nb,y\nc,x\n", {"form": "lists"}),
        ("log.tsv", "uid\tsku\na\t[\"x\", \"y\", \"z\"]\nb\t[\"y\"]\nc\t[\"x\"]\n", {"form": "lists"}),
        ("log.jsonl", '{"uid":"a","sku":["x","y","z"]}\n{"uid":"b","sku":["y"]}\n{"uid":"c","sku":["x"]}\n', {"form": "lists"}),
    ],
)  # fmt: skip
def test_a_row_may_be_many_events(tmp_path: Path, name: str, content: str, settings: Any) -> None:
    path = tmp_path / name
    path.write_text(content)
    if settings["form"] == "lines":
        settings = {"user": None, "item": None, **settings}
    data = prepared(path, time=None, rating=None, **settings)
    assert data.events.collect().rows() == [(0, 0), (0, 1), (0, 2), (1, 1), (2, 0)]
    assert data.users["user"].to_list() == ["a", "b", "c"]


def test_lists_of_times_go_with_the_items(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text('uid,sku,ts\na,"[7, 8]","[1600000009, 1600000005]"\nb,[7],[1600000007]\n')
    data = prepared(path, rating=None, form="lists")
    assert data.items["item"].to_list() == ["8", "7"]
    assert data.events.collect()["timestamp"].to_list() == [1600000005, 1600000007, 1600000009]
    path.write_text('uid,sku,ts\na,[7],[1]\nb,"[7, 8]",[1600000007]\n')
    assert "log.csv, line 3: the lists of sku, ts are not equally long" in fault(
        path, rating=None, form="lists"
    )


def test_faulty_rows_can_be_dropped_and_are_counted(log: Path) -> None:
    bad = "NULL,x,1600000001,1\nb,,1600000001,1\nb,y,soon,1\nb,y,1600000001,\n\n"
    log.write_text(LOG.replace("b,y", bad + "b,y"))
    assert "line 7 is blank: remove it, or say data.invalid=drop. More is wrong" in fault(log)
    data = prepared(log, invalid="drop")
    assert data.events.collect().rows() == ROWS
    counts = {"rows": 5, "user": 1, "item": 1, "rating": 1, "time": 1}
    assert data.info["dropped"] == counts
    assert "5 rows were dropped (1 without user, 1 without item" in data.info["notes"][0]
    log.write_text("uid,sku,ts,stars\n,x,1,1\n")
    assert "line 2: the user id in column 'uid' is empty" in fault(log, invalid="drop")


def test_files_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::10::5::978300760\n2::11::4::978300761\n")
    columns = ["user", "item", "rating", "time"]
    data = prepared(path, columns=columns, user=None, item=None, time=None, rating=None)
    assert data.events.collect().rows() == [(0, 0, 978300760, 5.0), (1, 1, 978300761, 4.0)]
    assert "4 fields in its first line (1, 10, 5, 978300760), but data.columns names 2" in fault(
        path, columns=["user", "item"], user=None, item=None
    )
    path.write_text("1::10::5::978300760\n2::11::4::978300761::9\n")
    assert "line 2 has 5 fields where the first line has 4" in fault(
        path, columns=columns, user=None, item=None, time=None, rating=None
    )


def test_the_catalogue_may_have_no_header_and_another_encoding(log: Path) -> None:
    catalogue = log.with_name("movies.dat")
    catalogue.write_bytes("x::Café (1995)::Drama\ny::Heat::Crime\n".encode("latin-1"))
    settings = {"catalogue_columns": ["item", "title", "genres"], "catalogue_title": "title"}
    assert "line 1 is not UTF-8 text (byte 0xe9)" in fault(
        log, catalogue=str(catalogue), **settings
    )
    data = prepared(log, catalogue=str(catalogue), encoding="latin-1", **settings)
    assert data.items.rows() == [("x", "Café (1995)", "Drama"), ("y", "Heat", "Crime")]
    assert "data.encoding=klingon is not known" in fault(log, encoding="klingon")


def test_what_unpacks_without_bounds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.data.plain.PLAIN_BYTES", 1 << 16)
    content = LOG.encode() + b"007,x,1600000000,4\n" * 100_000
    packed = tmp_path / "log.csv.gz"
    packed.write_bytes(gzip.compress(content))
    assert "unpacks to more than 100 times its size" in fault(packed)
    with zipfile.ZipFile(tmp_path / "log.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.csv", content)
    assert "unpacks to more than 100 times its size" in fault(tmp_path / "log.zip")
    part = LOG.encode() + b"007,x,1600000000,4\n" * 3_000  # one by one they are within bounds
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.csv", part)
    (tmp_path / "many").mkdir()
    for number in range(40):
        (tmp_path / "many" / f"{number}.csv.gz").write_bytes(gzip.compress(part))
    for name in ("many.zip", "many"):
        assert "unpacks to more than 100 times its size" in fault(tmp_path / name)


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(UserError, match="is a device or a pipe"):
            source(path).files()


def test_a_name_does_not_leave_the_cache(log: Path) -> None:
    for name in ("../../x", "/tmp/x", "a/b", "..", "x" * 300, "a\nb"):
        assert "data.name" in fault(log, name=name)


def test_broken_json_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"uid":1,"sku":2}\n{"uid":1,"sku":\n')
    assert "log.jsonl, line 2 is no JSON" in fault(path, time=None, rating=None)
    path.write_text('{"uid":1,"sku":2}\n\n{"uid":null,"sku":2}\n')
    assert "log.jsonl, line 3: the user id" in fault(path, time=None, rating=None)


def test_a_rating_is_compared_as_it_is_written(tmp_path: Path) -> None:
    """.7 as Float32 is less than .7 as Float64: a threshold must not tell them apart."""
    frame = pl.DataFrame({"uid": "u", "sku": ["a", "b", "c"], "stars": [0.3, 0.7, 1.0]})
    frame.write_csv(tmp_path / "log.csv")
    frame.with_columns(pl.col("stars").cast(pl.Float32)).write_parquet(tmp_path / "log.parquet")
    for form in ("csv", "parquet"):
        data = prepared(tmp_path / f"log.{form}", time=None)
        assert len(filtered(data, 0.7, 0, 0, False)[0].item) == 2


def test_numbers_that_have_lost_digits_are_told(tmp_path: Path) -> None:
    users = ["a", "a", "b"]
    wide = pl.DataFrame({"uid": users, "sku": [2**24, 2**24 + 1, 1], "ts": [1, 2, 3]})
    wide.with_columns(pl.col("sku").cast(pl.Float32)).write_parquet(tmp_path / "ids.parquet")
    told = fault(tmp_path / "ids.parquet", rating=None)
    assert "row 1: '16777216.0' in column 'sku' stands for no item id (2 such rows)" in told
    assert "several ids would be one: write them as whole numbers, or as text" in told
    late = pl.DataFrame({"uid": users, "sku": [1, 2, 1], "ts": [1.7e9, 1.7e9 + 9, 1.7e9 + 20]})
    late.with_columns(pl.col("ts").cast(pl.Float32)).write_parquet(tmp_path / "times.parquet")
    assert "in column 'ts' is no time (3 such rows)" in fault(
        tmp_path / "times.parquet", rating=None
    )
    (tmp_path / "times.csv").write_text("uid,sku,ts\na,x,1.700e+09\na,y,1.700e+09\nb,x,1.701e+09\n")
    told = fault(tmp_path / "times.csv", rating=None)
    assert "line 2: '1.700e+09' in column 'ts' is no time (3 such rows)" in told
    (tmp_path / "full.csv").write_text("uid,sku,ts\na,x,1.700000001e+09\nb,y,1.700000005e+09\n")
    assert prepared(tmp_path / "full.csv", rating=None).info["first_timestamp"] == 1_700_000_001


def test_the_decimal_comma_is_that_of_the_catalogue_as_well(tmp_path: Path) -> None:
    log, catalogue = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("uid;sku;stars\nu1;a;4,5\nu1;b;3\n")
    rows = ["a;12,90;1,5 kg;3", "b;;2;4", 'c;1.234,5;"1,2";5']
    catalogue.write_text(
        "\n".join(["id;price;size;rank", "a;12,90;1,5 kg;3", "b;;2;4", "c;7;1,2;5"])
    )
    given = {"user": "uid", "item": "sku", "rating": "stars", "catalogue_item": "id"}
    data = prepare(
        TableSource(str(log), catalogue=str(catalogue), decimal="comma", **given), tmp_path / "p"
    )
    assert data.items["price"].to_list() == [12.9, None, 7.0]
    assert data.items["size"].to_list() == ["1,5 kg", "2", "1,2"]  # not numbers alone
    catalogue.write_text("\n".join(["id;price;size;rank", *rows]))
    unclear = prepare(
        TableSource(str(log), catalogue=str(catalogue), decimal="comma", **given), tmp_path / "q"
    )
    assert unclear.items["price"].dtype == pl.String  # 1.234,5 says nothing for sure
