"""Rows are dealt as the protocol says, and again so; what it lacks is told."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.splits import GivenRows, RandomRows, RowProtocol, TemporalRows
from lightning_rec.data.clicks.table import PART, ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError


@pytest.fixture
def table(click_csv: Path, click_fields: Fields, tmp_path: Path) -> ClickTable:
    return prepare_clicks(ClickTableSource(fields=click_fields, path=str(click_csv)), tmp_path)


def test_random_rows_have_their_shares(table: ClickTable, click_fields: Fields) -> None:
    protocol = RandomRows(val=0.2, test=0.1)
    part = protocol.assign(table, click_fields).part
    assert np.bincount(part).tolist() == [420, 120, 60]
    assert (protocol.assign(table, click_fields).part == part).all()
    assert (RandomRows(val=0.2, test=0.1, seed=1).assign(table, click_fields).part != part).any()


def test_without_validation(table: ClickTable, click_fields: Fields) -> None:
    protocol = RandomRows(val=0.0, test=0.1)
    assert not protocol.validates
    assert np.bincount(protocol.assign(table, click_fields).part).tolist() == [540, 0, 60]


def test_whole_groups_stay_together(table: ClickTable, click_fields: Fields) -> None:
    part = RandomRows(val=0.2, test=0.2, whole_groups=True).assign(table, click_fields).part
    users = table.rows.select("uid").collect()["uid"].to_numpy()
    parts = {user: set(part[users == user]) for user in np.unique(users)}
    assert all(len(of) == 1 for of in parts.values())
    assert np.bincount([of.pop() for of in parts.values()]).tolist() == [12, 4, 4]
    with pytest.raises(UserError, match=r"data\.fields\.group"):
        RandomRows(whole_groups=True).assign(table, replace(click_fields, group=None))


def test_temporal_rows_are_cut_at_two_moments(table: ClickTable, click_fields: Fields) -> None:
    dealt = TemporalRows(val_from=0.5, test_from=0.75).assign(table, click_fields)
    time = table.rows.select(pl.col("ts").cast(pl.Int64)).collect()["ts"].to_numpy()
    assert dealt.boundaries is not None
    val_from, test_from = dealt.boundaries
    assert (dealt.part == (time >= val_from) + 1 * (time >= test_from)).all()
    assert np.bincount(dealt.part).tolist() == [300, 150, 150]


def test_dates_are_times(tmp_path: Path) -> None:
    fields = Fields(categorical=("a",), label="y", time="day")
    path = tmp_path / "dated.csv"
    path.write_text("a,y,day\nu,1,2024-01-02\nu,0,2024-01-01\nv,1,2024-01-04\nv,0,2024-01-03\n")
    dated = prepare_clicks(ClickTableSource(fields=fields, path=str(path)), tmp_path)
    assert TemporalRows(0.5, 0.75).assign(dated, fields).part.tolist() == [0, 0, 2, 1]
    path.write_text("a,y,day\nu,1,2024-01-02\nu,0,soon\n")
    broken = prepare_clicks(ClickTableSource(fields=fields, path=str(path)), tmp_path)
    with pytest.raises(UserError, match="row 2: 'soon' in column 'day' is no time"):
        TemporalRows().assign(broken, fields)


def test_given_files_keep_their_parts(tmp_path: Path) -> None:
    fields = Fields(categorical=("a",), label="y")
    paths = [tmp_path / f"{part}.csv" for part in ("train", "val", "test")]
    for number, path in enumerate(paths):
        path.write_text("a,y\n" + "u,1\nv,0\n" * (number + 1))
    parts = dict(zip(("path", "val", "test"), map(str, paths), strict=True))
    source = ClickTableSource(fields=fields, **parts)
    given = prepare_clicks(source, tmp_path)
    assert np.bincount(GivenRows().assign(given, fields).part).tolist() == [2, 4, 6]
    paths[1].write_text("a,z\nu,1\n")
    with pytest.raises(UserError, match=r"val\.csv does not have the columns .* lacks y and has z"):
        prepare_clicks(source, tmp_path)


@pytest.mark.parametrize(
    ("protocol", "said"),
    [(GivenRows(), "came without a split"), (TemporalRows(), r"data\.fields\.time=COLUMN")],
)
def test_what_the_data_lacks_is_told(
    table: ClickTable, click_fields: Fields, protocol: RowProtocol, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        protocol.assign(table, replace(click_fields, time=None))


def test_an_unknown_mark_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "marked.parquet"
    pl.DataFrame({"a": ["u"], "y": [1], PART: ["dev"]}).write_parquet(path)
    fields = Fields(categorical=("a",), label="y")
    with pytest.raises(UserError, match="holds dev"):
        GivenRows().assign(
            prepare_clicks(ClickTableSource(fields=fields, path=str(path)), tmp_path), fields
        )


def test_equal_settings_have_equal_hashes() -> None:
    hashes = [p.hash() for p in (RandomRows(), RandomRows(seed=1), TemporalRows(), GivenRows())]
    assert len(set(hashes)) == 4
    assert RandomRows().hash() == RandomRows(seed=0).hash()
    for shares in ({"val": 0.5, "test": 0.5}, {"test": 0.0}):
        with pytest.raises(UserError, match="must leave something"):
            RandomRows(**shares)
    with pytest.raises(UserError, match="must lie before"):
        TemporalRows(0.9, 0.8)
