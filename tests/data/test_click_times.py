"""Times of clicks are read as those of events are: each file by its own type, form and unit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.pipeline import AuditedClicks, load_clicks
from lightning_rec.data.clicks.splits import GivenRows, TemporalRows, times
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError

FIELDS = Fields(categorical=("uid", "sku"), label="y", group="uid", item="sku", time="ts")
FIRST = 1_700_000_000  # 2023-11-14 22:13:20


def written(path: Path, stamps: list[Any]) -> Path:
    rows = len(stamps)
    frame = pl.DataFrame(
        {
            "uid": [row % 3 for row in range(rows)],
            "sku": [row % 5 for row in range(rows)],
            "y": [row // 3 % 2 for row in range(rows)],
            "ts": stamps,
        }
    )
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


def temporal(path: Path, stamps: list[Any], **settings: Any) -> AuditedClicks:
    source = ClickTableSource(fields=FIELDS, path=str(written(path, stamps)), **settings)
    return load_clicks(source, TemporalRows(), path.parent / "cache")


def seconds(rows: int, first: int = FIRST) -> list[int]:
    return [first + 60 * row for row in range(rows)]


def test_units_that_mix_in_a_column_are_refused(tmp_path: Path) -> None:
    stamps = [1000 * stamp for stamp in seconds(40)] + seconds(20, FIRST + 2400)
    with pytest.raises(UserError, match=r"'ts' is .*, s in one and ms in the other by their size"):
        temporal(tmp_path / "log.csv", stamps)


def moment(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


FORMS: dict[str, Any] = {
    "s.csv": lambda stamps: stamps,
    "ms.csv": lambda stamps: [1000 * stamp for stamp in stamps],
    "ms.parquet": lambda stamps: [1000 * stamp for stamp in stamps],
    "iso.csv": lambda stamps: [f"{moment(stamp):%Y-%m-%dT%H:%M:%SZ}" for stamp in stamps],
    "slashed.csv": lambda stamps: [f"{moment(stamp):%m/%d/%Y %H:%M:%S}" for stamp in stamps],
    "utc.parquet": lambda stamps: [moment(stamp) for stamp in stamps],
    "naive.parquet": lambda stamps: [moment(stamp).replace(tzinfo=None) for stamp in stamps],
    "float.parquet": lambda stamps: [float(stamp) for stamp in stamps],
}


@pytest.mark.parametrize(
    "forms",
    [
        ("ms.csv", "s.csv", "s.csv"),
        ("ms.parquet", "s.csv", "float.parquet"),
        ("s.csv", "iso.csv", "slashed.csv"),
        ("iso.csv", "utc.parquet", "naive.parquet"),
        ("utc.parquet", "ms.csv", "iso.csv"),
        ("naive.parquet", "float.parquet", "ms.parquet"),
        ("slashed.csv", "naive.parquet", "s.csv"),
    ],
)
def test_each_file_is_read_by_its_own_type_form_and_unit(
    forms: tuple[str, str, str], tmp_path: Path
) -> None:
    stamps = seconds(80)
    parts = (stamps[:48], stamps[48:64], stamps[64:])
    paths = []
    for place, (form, part) in enumerate(zip(forms, parts, strict=True)):
        (tmp_path / str(place)).mkdir()
        paths.append(str(written(tmp_path / str(place) / form, FORMS[form](part))))
    fields = Fields(**{**vars(FIELDS), "past": "clicks"})
    source = ClickTableSource(fields=fields, path=paths[0], val=paths[1], test=paths[2], name="log")
    given = load_clicks(source, GivenRows(), tmp_path / "cache")
    assert times(given.data.table, fields).tolist() == stamps
    assert given.data.held_out_from == stamps[48]
    past = given.data.encoded.past
    assert past is not None
    assert (np.asarray(past.end) - np.asarray(past.start))[-1] > 10  # clicks of training are there


@pytest.mark.parametrize(
    "stamps",
    [
        [f"{datetime(2023, 11, 14, 22, 15) + timedelta(minutes=row):%Y-%m-%d %H:%M}" for row in range(20)]
        + [f"2023-11-14 22:{35 + row}:00" for row in range(20)],
        [FIRST + 100, *(f"{stamp}.25" for stamp in seconds(39, FIRST + 160))],
        ["2023-11-14", *(f"2023-11-14 22:{15 + row}:20" for row in range(39))],
    ],
    ids=["minutes", "fractions", "bare"],
)  # fmt: skip
def test_spellings_may_mix(tmp_path: Path, stamps: list[Any]) -> None:
    made = temporal(tmp_path / "log.csv", [str(stamp) for stamp in stamps])
    found = times(made.data.table, FIELDS)
    assert (np.diff(found) > 0).all()
    assert FIRST - 90_000 < found.min() < found.max() < FIRST + 10_000


def test_dates_written_as_numbers_are_no_milliseconds(tmp_path: Path) -> None:
    stamps = [202401311500 + row for row in range(40)]
    with pytest.raises(UserError, match=r"say data\.time_format=%Y%m%d%H%M "):
        temporal(tmp_path / "log.csv", stamps)
    made = temporal(tmp_path / "log.csv", stamps, time_format="%Y%m%d%H%M")
    assert made.data.held_out_from == datetime(2024, 1, 31, 15, 32, tzinfo=UTC).timestamp()
