"""Splits take dates as well as quantiles: equal moments, equal splits; what is outside is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec import config
from lightning_rec.data.audit import audit
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.splits import TemporalRows
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.schema import Interactions
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.data.splits import Temporal
from lightning_rec.errors import UserError

Prepare = Callable[..., Interactions]
DAY = 86_400
START = 1_000_080_000  # 2001-09-10T00:00:00Z


def ten_days() -> dict[str, list[Any]]:
    """Four users, an event of each at noon of each of ten days from 2001-09-10 on, no item twice."""
    rows = [(user, day) for day in range(10) for user in range(4)]
    return {
        "user": [f"u{user}" for user, _ in rows],
        "item": [f"i{user + day}" for user, day in rows],
        "time": [START + day * DAY + DAY // 2 for _, day in rows],
    }


def test_a_date_cuts_where_it_says(prepared: Prepare) -> None:
    data = prepared(**ten_days())
    protocol = Temporal(cutoffs=(1,), val_from="2001-09-16", test_from="2001-09-18", targets="all")
    split = protocol.split(data)
    assert split.boundaries == (START + 6 * DAY, START + 8 * DAY)
    assert (split.counts["train events"], split.val.size, split.test.size) == (24, 8, 8)  # type: ignore[unreachable]
    audit(data, split)


def test_an_event_at_the_very_date_lies_after_it_nested_or_not(prepared: Prepare) -> None:
    data = prepared(**ten_days())
    for nested in (False, True):
        cuts = {"val_from": "2001-09-16T12:00Z", "test_from": "2001-09-18T12:00:00.5Z"}
        split = Temporal(cutoffs=(1,), targets="all", nested=nested, **cuts).split(data)
        # Half a second past noon: the events of that noon validate.
        assert (split.val.size, split.test.size) == (12, 4)


def test_dates_and_quantiles_go_together(prepared: Prepare) -> None:
    data = prepared(**ten_days())
    for nested in (False, True):
        options: dict[str, Any] = {"cutoffs": (1,), "targets": "all", "nested": nested}
        mixed = Temporal(val_from=0.5, test_from="2001-09-18", **options).split(data)
        assert mixed.test.size == 8
        assert 0 < mixed.val.size < 20
    with pytest.raises(
        UserError, match=r"val_from=2001-09-19T00:00:00Z must lie before test_from=0\.5 \(2001-09-1"
    ):
        Temporal(val_from="2001-09-19", test_from=0.5).split(data)


def test_one_moment_has_one_hash_and_stands_on_the_card() -> None:
    spellings = [
        "2001-09-16",
        "2001-09-16T00:00Z",
        "2001-09-16 02:00+02:00",
        "2001-09-15T20:00:00-04:00",
    ]
    protocols = [Temporal(val_from=spelling, test_from="2001-09-18") for spelling in spellings]
    assert len({protocol.hash() for protocol in protocols}) == 1
    assert protocols[0].settings()["val_from"] == "2001-09-16T00:00:00Z"
    assert Temporal(val_from="2001-09-17", test_from="2001-09-18").hash() != protocols[0].hash()
    assert TemporalRows("2001-09-16", 0.9).hash() == TemporalRows("2001-09-16T00:00Z", 0.9).hash()


def test_quantiles_keep_the_hash_they_had() -> None:
    assert Temporal().hash() == "d8dff234389cdd3c353ed1b757a748ea4f869f4aac03f08a7a6a5b3a8a7c9bc8"
    assert (
        TemporalRows().hash() == "804237a54c2a6afc72b40469d78a38e5973df574cfcefa90e199a730420f5656"
    )


@pytest.mark.parametrize(
    ("cuts", "said"),
    [
        ({"test_from": "2001-10-01"}, r"test_from=2001-10-01T00:00:00Z: the data has nothing from then on, its times go from 2001-09-10T12:00:00Z to 2001-09-19T12:00:00Z"),
        ({"val_from": "2001-09-10"}, r"val_from=2001-09-10T00:00:00Z: the data has nothing before it to train on"),
    ],
)  # fmt: skip
def test_a_date_outside_the_data_names_its_period(
    prepared: Prepare, cuts: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        Temporal(**cuts).split(prepared(**ten_days()))


@pytest.mark.parametrize(
    "cut", ["soon", 1.0, 0, 2001, "2001-13-01", "11/09/2001", 1_000_080_000, float("nan")]
)
@pytest.mark.parametrize("target", ["splits.Temporal", "clicks.splits.TemporalRows"])
def test_what_is_neither_is_told_from_the_config(target: str, cut: Any) -> None:
    node = {"_target_": f"lightning_rec.data.{target}", "val_from": cut}
    with pytest.raises(UserError, match=r"protocol\.val_from=.*a quantile .* or a date such as"):
        config.build("protocol", node)


def test_the_command_line_reads_dates() -> None:
    for group, name in (("temporal", "Temporal"), ("temporal_rows", "TemporalRows")):
        cfg = config.compose(
            [
                f"protocol={group}",
                "protocol.val_from=2001-09-11",
                "protocol.test_from=2001-09-12T08:46-04:00",
            ]
        )
        protocol = config.build("protocol", cfg.protocol)
        assert type(protocol).__name__ == name
        assert (protocol.val_from, protocol.test_from) == (
            "2001-09-11T00:00:00Z",
            "2001-09-12T12:46:00Z",
        )


def clicks(folder: Path, times: list[Any]) -> tuple[ClickTable, Fields]:
    fields = Fields(categorical=("a",), label="y", time="ts")
    path = folder / "clicks.csv"
    pl.DataFrame({"a": ["u", "v"] * 5, "y": [1, 0] * 5, "ts": times}).write_csv(path)
    return prepare_clicks(ClickTableSource(fields=fields, path=str(path)), folder), fields


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "dates"])
def test_rows_of_clicks_are_cut_by_dates_whatever_form_times_have(
    form: str, tmp_path: Path
) -> None:
    seconds = [START + day * DAY for day in range(10)]
    forms: dict[str, list[Any]] = {
        "seconds": seconds,
        "milliseconds": [1000 * time for time in seconds],
        "dates": [f"2001-09-{day}" for day in range(10, 20)],
    }
    table, fields = clicks(tmp_path, forms[form])
    dealt = TemporalRows(val_from="2001-09-16", test_from="2001-09-18").assign(table, fields)
    assert np.bincount(dealt.part).tolist() == [6, 2, 2]
    with pytest.raises(UserError, match="go from 2001-09-10T00:00:00Z to 2001-09-19T00:00:00Z"):
        TemporalRows(test_from="2002-01-01").assign(table, fields)
