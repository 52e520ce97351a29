"""A log as series: zero-filled from the first sale, whole periods only, what is dropped is told."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.table import TableSource
from lightning_rec.demand.series import demand_of
from lightning_rec.errors import UserError

ROWS = [
    ("2024-01-01", "a", 2), ("2024-01-07", "a", 1), ("2024-01-08", "b", 4), ("2024-01-16", "b", 5),
    ("2024-01-30", "a", 3), ("2024-01-30", "c", 1), ("2024-02-06", "a", 7),
]  # fmt: skip
KINDS = {"a": "tea|hot", "b": "tea", "c": "mug"}


@pytest.fixture
def log(tmp_path: Path) -> Interactions:
    return prepared_log(tmp_path, ROWS)


def prepared_log(folder: Path, rows: list[Any], **more: Any) -> Interactions:
    days, items, pieces = zip(*rows, strict=True)
    columns = {
        "who": [f"u{n % 3}" for n in range(len(rows))],
        "what": items,
        "when": days,
        "n": pieces,
    }
    pl.DataFrame(columns).write_csv(folder / "log.csv")
    kinds = pl.DataFrame(
        {"item": [*KINDS], "kind": [*KINDS.values()], "title": [k.upper() for k in KINDS]}
    )
    kinds.rename({"kind": "category"}).write_csv(folder / "items.csv")
    asked = {"time": "when", "rating": "n"} | more
    source = TableSource(
        str(folder / "log.csv"), "who", "what", catalogue=str(folder / "items.csv"),
        catalogue_title="title", **asked,
    )  # fmt: skip
    return prepare(source, folder / "cache")


def by_key(found: Any) -> dict[str, list[float]]:
    return dict(zip(found.keys, found.counts.tolist(), strict=True))


def test_weeks_are_counted_from_mondays_and_the_last_one_is_told(log: Interactions) -> None:
    found = demand_of(log, "week")
    assert found.starts == [date(2024, 1, n) for n in (1, 8, 15, 22, 29)]
    assert by_key(found) == {"a": [2, 0, 0, 0, 1], "b": [0, 1, 1, 0, 0], "c": [0, 0, 0, 0, 1]}
    assert dict(zip(found.keys, found.first, strict=True)) == {"a": 0, "b": 1, "c": 4}
    assert found.told[0].startswith("1 events from 2024-02-05 on are left out: the log may end")
    assert [found.groups[each] for each in found.group] == ["tea", "tea", "mug"]
    assert found.titles.to_list() == ["A", "B", "C"]


def often(folder: Path, begin: int, every: int, number: int) -> Interactions:
    """A log with an event each so many seconds."""
    at = [begin + every * n for n in range(number)]
    return prepared_log(folder, [(when, "abc"[n % 3], 1) for n, when in enumerate(at)])


def test_a_first_week_that_begins_late_is_left_out_and_told(tmp_path: Path) -> None:
    sunday = 1_704_585_660  # 2024-01-07 00:01, the last day of its week
    log = often(tmp_path, sunday, 3600, 24 * 30)
    found = demand_of(log, "week")
    assert found.starts[0] == date(2024, 1, 8)
    assert found.counts.sum(0).tolist() == [168] * 4
    assert found.told[0].startswith("24 events before 2024-01-08 are left out: the log begins")
    whole = demand_of(log, "week", since="2024-01-01")
    assert whole.counts.sum(0).tolist() == [24, *[168] * 4]
    assert not any("before" in each for each in whole.told)
    later = demand_of(log, "week", since="2024-01-16")
    assert later.starts[0] == date(2024, 1, 22)
    assert later.told[0].startswith(
        "360 events before 2024-01-22 are left out: by since=2024-01-16"
    )
    with pytest.raises(
        UserError, match=r"the first one begins on 2024-02-12.*an earlier since=DATE"
    ):
        demand_of(log, "week", since="2024-02-07")


@pytest.mark.parametrize(
    ("begin", "every", "number", "first"),
    [
        (1_704_067_200 + 7 * 3600, 3600, 700, date(2024, 1, 1)),  # a Monday at seven
        (1_704_067_200 + 2 * 86400, 86400 * 3, 40, date(2024, 1, 1)),  # one event in three days
    ],
)
def test_what_begins_soon_or_by_chance_late_is_whole(
    tmp_path: Path, begin: int, every: int, number: int, first: date
) -> None:
    assert demand_of(often(tmp_path, begin, every, number), "week").starts[0] == first


def test_a_quantity_is_summed_up_to_a_date(log: Interactions) -> None:
    found = demand_of(log, "week", quantity="rating", until="2024-02-19")
    assert by_key(found)["a"] == [3, 0, 0, 0, 3, 7, 0]
    assert not found.told
    assert found.whole


def test_months_and_days(log: Interactions) -> None:
    assert by_key(demand_of(log, "month")) == {"a": [3], "b": [2], "c": [1]}
    found = demand_of(log, "day")
    assert len(found.starts) == 36
    assert found.counts.sum() == 6
    assert demand_of(log, "month").later(3) == [
        date(2024, 2, 1),
        date(2024, 3, 1),
        date(2024, 4, 1),
    ]


def test_series_by_a_column_of_the_catalogue(log: Interactions) -> None:
    found = demand_of(log, "week", by="category")
    assert by_key(found) == {"tea": [2, 1, 1, 0, 1], "mug": [0, 0, 0, 0, 1]}
    assert found.groups == ["all"]


def test_what_is_known_at_an_origin_is_told_by_what_was_before(log: Interactions) -> None:
    found = demand_of(log, "week")
    known, kept = found.until(3, 2, 1)
    assert known.keys.to_list() == ["a", "b"]
    assert known.counts.tolist() == [[2, 0, 0], [0, 1, 1]]
    assert kept.tolist() == [0, 1]
    assert found.until(3, 3, 1)[0].keys.to_list() == ["a"]
    assert found.until(3, 2, 2.5)[0].keys.to_list() == []


@pytest.mark.parametrize(
    ("every", "until", "last"),
    [
        ("week", "2024-02-10", date(2024, 1, 29)),
        ("week", "2024-02-11", date(2024, 2, 5)),  # a Sunday, whole itself
        ("week", date(2024, 2, 11), date(2024, 2, 5)),
        ("week", "11.02.2024", date(2024, 2, 5)),
        ("week", "2024-02-11 23:59", date(2024, 1, 29)),  # a moment: that day may go on
        ("week", "1707696000", date(2024, 2, 5)),  # the same in seconds: Monday, 00:00
        ("week", datetime(2024, 2, 12, tzinfo=UTC), date(2024, 2, 5)),
        ("week", "2024-02-12", date(2024, 2, 5)),
        ("month", "2024-02-28", date(2024, 1, 1)),
        ("month", "2024-02-29", date(2024, 2, 1)),
        ("day", "2024-02-06", date(2024, 2, 6)),
    ],
)
def test_a_log_is_whole_up_to_and_including_a_date(
    log: Interactions, every: Any, until: Any, last: date
) -> None:
    found = demand_of(log, every, until=until)
    assert found.starts[-1] == last
    lost = last < date(2024, 2, 1)  # the last event is of 6 February
    assert found.counts.sum() == len(ROWS) - lost
    assert len(found.told) == lost
    for told in found.told:
        assert told.startswith("1 events from 2024-02-0")
        assert f"by until={until} that {every} is not over" in told


def test_a_date_far_after_the_last_event_is_told_or_refused(log: Interactions) -> None:
    assert not demand_of(log, "week", until="2024-03-03").told  # three weeks of nothing
    (told,) = demand_of(log, "week", until="2024-03-10").told
    assert "the last event is of the week from 2024-02-05, and 4 weeks without any event" in told
    assert "they count as 0" in told
    with pytest.raises(UserError, match="307 weeks without any event come after it, more than"):
        demand_of(log, "week", until="2030-01-01")


def test_rows_that_were_dropped_are_told(tmp_path: Path) -> None:
    rows = [*ROWS, ("2024-01-02", "", 1), ("soon", "a", 1), ("later", "b", 1)]
    log = prepared_log(tmp_path, rows, invalid="drop")
    dropped, last = demand_of(log, "week").told
    assert "3 rows were dropped (1 without item, 2 without time)" in dropped
    assert "left out" in last


def test_why_an_item_has_no_forecast(log: Interactions) -> None:
    found = demand_of(log, "week")  # c is of the last week, b has two
    assert found.unforecast(2, 1).rows() == [("c", "C", "younger than history=2 weeks")]
    assert found.unforecast(1, 2).rows() == [("c", "C", "less than least=2 in all")]
    assert found.unforecast(1, 1).rows() == []
    january = demand_of(log, "week", until="2024-01-21")
    assert january.unforecast(1, 1).rows() == [("c", "", "nothing in a whole week")]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"quantity": "pieces"}, "quantity=: the log has no column"),
        ({"category": "brand"}, "category=: the catalogue has no column"),
        ({"by": "brand"}, "by=: the catalogue has no column"),
        ({"until": "soon"}, "until=soon: 'soon' is no time"),
        ({"until": "2023-05-01"}, "holds no whole week: it begins .* until=2023-05-01 says"),
        ({"every": "month", "until": "2024-01-30"}, "no whole month"),
    ],
)
def test_what_cannot_be_is_refused(log: Interactions, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        demand_of(log, **{"every": "week"} | asked)


def test_a_log_of_one_period_is_refused(tmp_path: Path) -> None:
    log = prepared_log(tmp_path, ROWS[:2])
    with pytest.raises(UserError, match=r"within that from 2024-01-01, .* say until=DATE"):
        demand_of(log, "week")
    assert by_key(demand_of(log, "week", until="2024-01-07")) == {"a": [2]}


def test_a_log_without_times_and_quantities_below_zero_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs the time of each event: set data\.time=COLUMN"):
        demand_of(prepared_log(tmp_path, ROWS, time=None), "week")
    (tmp_path / "below").mkdir()
    log = prepared_log(tmp_path / "below", [*ROWS, ("2024-01-09", "a", -1)])
    with pytest.raises(UserError, match="a quantity is 0 or more"):
        demand_of(log, "week", quantity="rating")


def test_features_are_those_of_the_item(log: Interactions) -> None:
    found = demand_of(log, "week")
    assert found.static.sum(1).tolist() == [2, 1, 1]  # tea and hot; tea; mug
    assert np.array_equal(found.static[0] * found.static[1], found.static[1])
