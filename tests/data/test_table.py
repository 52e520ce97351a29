"""A user's own table: every form it may have, and every fault told by file and line."""

import gzip
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

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
    log.write_text("uid,sku,ts,stars\na,x,1600000000000000000,1\n")
    assert "nanoseconds" in fault(log)


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
        (b"PK\3\4\0\0\0\1", "log.csv is not a text table"),
        (b"uid,sku,ts,stars\na,\xe9,1,1\n", "log.csv is not UTF-8"),
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
        ('uid,sku,ts,stars\na,"x,1,1\nb,y,2,1\n', "cannot be read as a table"),
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


def test_a_folder_without_parquet(log: Path) -> None:
    assert "has no .parquet files (it holds: log.csv" in fault(log.parent)


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
    assert "log.csv, line 3: the user id in column 'uid' is" in fault(log, rating=None)
