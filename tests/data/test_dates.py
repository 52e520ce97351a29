"""Dates as programs write them are read as they are meant; what may mean two things is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lightning_rec.data.sources.table import TableSource
from lightning_rec.errors import UserError


def read(folder: Path, *values: str, **settings: object) -> list[str]:
    """The times of a log with these, as ISO has them."""
    path = folder / "log.tsv"
    rows = "".join(f"u{at}\tx\t{value}\n" for at, value in enumerate(values))
    path.write_text(f"user\titem\ttime\n{rows}")
    source = TableSource(str(path), "user", "item", "time", **settings)
    events = source.read([path]).interactions.collect().sort("user")
    found = zip(events["timestamp"], events["fraction"], strict=True)
    moments = [
        datetime.fromtimestamp(second, UTC).replace(microsecond=part) for second, part in found
    ]
    return [moment.isoformat(" ").removesuffix("+00:00") for moment in moments]


NINE, TEN = "2019-10-21 09:00:00", "2019-10-21 22:00:30"
DAYS = ["2019-10-21 00:00:00", "2019-10-22 00:00:00"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2019-10-21 9:00 a.m.", "2019-10-21 10:00:30 P.M."], [NINE, TEN]),
        (["2019-10-21 09:00 AM", "2019-10-21 10:00:30\u202fPM"], [NINE, TEN]),
        (["10/21/2019 9 am", "10/21/2019 10:00:30.000 PM"], [NINE, TEN]),
        (["10/21/19 09:00", "10/21/2019 22:00:30"], [NINE, TEN]),
        (["21.10.2019 09:00", "21.10.19 22:00:30"], [NINE, TEN]),
        (["21-Oct-2019 09:00", "21-Oct-19 22:00:30"], [NINE, TEN]),
        (["2019-10-21 22:00:30:250", "2019-10-21 22:00:31:000001"], ["2019-10-21 22:00:30.250000", "2019-10-21 22:00:31.000001"]),
        (["2019-10-21t09:00z", "2019-10-21t22:00:30z"], [NINE, TEN]),
        (["10 21, 2019", "10 22, 2019"], DAYS),
        (["2019-W43-1", "2019-W43-2"], DAYS),
        (["2019W431T09", "2019W431T22:00:30"], [NINE, TEN]),
        (["2019-294", "2019-295"], DAYS),
        (["20191021T0900", "20191021T220030Z"], [NINE, TEN]),
        (["20191021T090000.000", "20191021T220030.5"], [NINE, "2019-10-21 22:00:30.500000"]),
        (["Mon Oct 21 09:00:00 +0000 2019", "Tue Oct 22 00:00:30 +0200 2019"], [NINE, TEN]),
        (["Mon, 21 Oct 2019 09:00:00 +0000", "Mon, 21 Oct 2019 17:00:30 -0500"], [NINE, TEN]),
        (["Mon, 21 Oct 2019 09:00 UT", "Mon, 21 Oct 2019 22:00:30 GMT"], [NINE, TEN]),
        (["Mon Oct 21 09:00:00 UTC 2019", "Mon Oct 21 22:00:30 UTC 2019"], [NINE, TEN]),
        (["2019-10-21T11:00+02:00[Europe/Berlin]", "2019-10-22 00:00:30 +0200 CEST"], [NINE, TEN]),
        (["21OCT2019:09:00:00", "21oct2019:22:00:30"], [NINE, TEN]),
        (["21st October 2019", "22nd Oct. 2019"], DAYS),
        (["Oct-21-2019", "October 22, 2019"], DAYS),
        (["2019.10.21", "2019.10.22"], DAYS),
        (["2019年10月21日", "2019年10月22日"], DAYS),
        (["2019-10-21-09.00.00.000000", "2019-10-21-22.00.30.000000"], [NINE, TEN]),
        (["\u200e2019-10-21\ufeff", "2019-10-22\u00a0"], DAYS),
    ],
)  # fmt: skip
def test_dates_are_read_as_they_are_meant(
    values: list[str], expected: list[str], tmp_path: Path
) -> None:
    assert read(tmp_path, *values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["10/21/2019 13:30 PM", "10/21/2019 1:30 PM"], "line 2: '10/21/2019 13:30 PM' .* is no time"),
        (["10/05/19 09:00", "11/06/2019 10:00"], "'10/05/19 09:00', which can be 2019-05-10 or 2019-10-05"),
        (["10 05, 2019", "10 06, 2019"], "which can be 2019-05-10 or 2019-10-05: say data.day_first"),
        (["2019-10-21 10:05:30:50"], "line 2: '2019-10-21 10:05:30:50' .* may be a fraction or a count"),
        (["2019-W43", "2019-W44"], "line 2: '2019-W43' in column 'time' is no time"),
        (["2019-10", "2019-11"], "line 2: '2019-10' in column 'time' is no time"),
        (["21 Mai 2019", "22 Mai 2019"], "is no time.*months in English"),
        (["5 marraskuuta 2019"], "is no time.*months in English"),  # November, not March
        (["2019-10-21 10:00 Europe/Berlin"], "Names of time zones are not read"),
        (["2019-10-21 10:00:00 PST8PDT"], "Names of time zones are not read"),
        (["Mon Oct 21 10:00:00 EDT 2019"], "Names of time zones are not read"),
        (["21-10-2019 EST", "22-10-2019 EST"], "line 2: '21-10-2019 EST' .* is no time"),
        (["2019294", "2019295"], "looks like dates written as numbers .* data.time_format=%Y%j"),
        (["2018", "2019"], r"looks like years \(2019\)"),
        (["43759.375", "43760"], "looks like days since 1900 .* data.time_unit=excel"),
    ],
)  # fmt: skip
def test_what_may_mean_two_things_is_refused(
    values: list[str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=expected):
        read(tmp_path, *values)


def test_days_of_a_spreadsheet_are_read_where_that_is_said(tmp_path: Path) -> None:
    found = read(tmp_path, "43759.375", "43759.9170138889", time_unit="excel")
    assert found == [NINE, TEN]
    assert read(tmp_path, "2018", "2019", time_unit="s") == [
        "1970-01-01 00:33:38",
        "1970-01-01 00:33:39",
    ]
