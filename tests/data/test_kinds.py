"""One log of several kinds of events: which are kept, counted and told."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lightning_rec import cli
from lightning_rec.data.check import check_file
from lightning_rec.data.prepare import prepare
from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError

ROLES: dict[str, Any] = {"user": "who", "item": "sku", "time": "at"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Users see, put into a basket, and buy; the time of one view is missing."""
    rows = []
    for user in range(12):
        for step in range(6):
            at = 1_700_000_000 + 1000 * user + 10 * step
            rows.append((f"u{user}", f"i{(user + step) % 9}", str(at), "view", 1))
            if step % 2:
                rows.append((f"u{user}", f"i{(user + step) % 9}", str(at + 1), "purchase", 2))
    rows[3] = (*rows[3][:2], "", "view", 1)
    schema = ["who", "sku", "at", "kind", "shop"]
    path = tmp_path / "log.csv"
    pl.DataFrame(rows, schema=schema, orient="row").write_csv(path)
    return path


@pytest.mark.parametrize("keep", [{"kind": ["purchase"]}, {"kind": "purchase", "shop": [2]}])
def test_some_kinds_are_kept_and_the_others_counted(
    log: Path, tmp_path: Path, keep: dict[str, Any]
) -> None:
    data = prepare(TableSource(str(log), keep=keep, **ROLES), tmp_path)
    alone = tmp_path / "alone.csv"
    bought = pl.read_csv(log, schema_overrides={"at": pl.String}).filter(kind="purchase")
    bought.write_csv(alone)
    same = prepare(TableSource(str(alone), **ROLES), tmp_path)
    assert data.events.collect().equals(same.events.collect())
    assert data.info["data_hash"] == same.info["data_hash"]
    assert data.info["events"] == 36
    assert data.info["dropped"] == {"rows": 72, "kind": 72}
    assert "72 rows were dropped (72 that data.keep leaves out)" in data.info["notes"][0]


def test_faults_of_what_is_kept_name_their_line(log: Path, tmp_path: Path) -> None:
    both = {"kind": ["purchase", "view"]}
    with pytest.raises(UserError, match=r"log\.csv, line 5: the time in column 'at' is empty"):
        prepare(TableSource(str(log), keep=both, **ROLES), tmp_path)
    data = prepare(TableSource(str(log), keep=both, invalid="drop", **ROLES), tmp_path)
    assert data.info["dropped"] == {"rows": 1, "time": 1}


def test_what_is_no_kind_is_refused(log: Path, tmp_path: Path) -> None:
    for keep, told in (
        ({"kind": ["purchases"]}, r"no row of data.keep=\{kind: \[purchases\]\}; there are: kind"),
        ({"kinds": ["view"]}, "has no column 'kinds' for data.keep"),
        ({"kind": []}, "which values of 'kind'"),
    ):
        with pytest.raises(UserError, match=told):
            prepare(TableSource(str(log), keep=keep, **ROLES), tmp_path)


def test_the_check_tells_of_such_a_column(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = "\n".join(check_file(log, **ROLES).warnings)
    assert "Column 'kind' seems to say what kind of event a row is (view 72, purchase 36)" in told
    words = ["user=who", "item=sku", "time=at", "keep={kind: [purchase]}"]
    assert cli.run(["data", "check", str(log), *words]) == 0
    shown = capsys.readouterr().out
    assert "kind of event" not in shown
    assert "'data.keep={kind:[purchase]}'" in shown
    assert "36" in shown


@pytest.mark.parametrize(
    ("head", "row", "told"),
    [
        ("customer,sku,clicked", "u{},i{},yes\nu{},i{},no", "lightning-rec data schema"),
        ("term,sku,name,grade", "lamp,i{},a lamp,{}", "data name=pairs path="),
    ],
)
def test_tables_of_clicks_and_of_texts_are_pointed_elsewhere(
    tmp_path: Path, head: str, row: str, told: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join([head, *(row.format(n, n, n, n) for n in range(9))]) + "\n")
    report = check_file(path)
    assert any(told in each for each in [*report.errors, *report.warnings])


def test_density_is_of_distinct_pairs(log: Path) -> None:
    figures = check_file(log, **ROLES, invalid="drop").statistics
    assert figures is not None
    rows = [row for row in pl.read_csv(log).rows() if row[2] not in ("", None)]
    pairs = len({row[:2] for row in rows})
    assert pairs < figures.events == len(rows)
    assert (figures.users, figures.items, figures.pairs) == (12, 9, pairs)
    assert dict(figures.rows())["density"] == f"{pairs / 108:.4%}"
