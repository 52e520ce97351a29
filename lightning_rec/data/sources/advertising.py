"""Criteo and Avazu: advertisements that were shown, and whether they were clicked."""

from pathlib import Path
from typing import ClassVar

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.data.sources.public import PublicClicks

_CRITEO = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
_AVAZU = (
    "id", "click", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id",
    "app_domain", "app_category", "device_id", "device_ip", "device_model", "device_type",
    "device_conn_type", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
)  # fmt: skip

CRITEO_SAMPLE = PublicData(
    name="criteo_sample",
    title="Criteo (sample)",
    licence="research only",
    events=8_000,
    megabytes=0.7,
    folders=("criteo-sample",),
    layouts=(Layout("sample", ("train.tsv.gz", "dev.tsv.gz", "test.tsv.gz")),),
)
AVAZU_SAMPLE = PublicData(
    name="avazu_sample",
    title="Avazu (sample)",
    licence="competition data",
    events=8_999,
    megabytes=0.3,
    folders=("avazu-sample",),
    layouts=(Layout("sample", ("train.csv.gz", "dev.csv.gz", "test.csv.gz")),),
)


class CriteoSample(PublicClicks):
    """Criteo's display advertising: ``label``, numbers ``I1`` to ``I13``, ``C1`` to ``C26``."""

    public: ClassVar[PublicData] = CRITEO_SAMPLE

    csv: ClassVar = {
        "separator": "\t",
        "has_header": False,
        "schema": {name: pl.String if name[0] == "C" else pl.Int64 for name in _CRITEO},
    }


class AvazuSample(PublicClicks):
    """Avazu's mobile advertising: ``click``, categories, ``weekday``, ``weekend``, ``of_day``."""

    public: ClassVar[PublicData] = AVAZU_SAMPLE

    csv: ClassVar = {"has_header": False, "schema": dict.fromkeys(_AVAZU, pl.String)}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Train, validation and test below one another; only the first has a header."""
        return _with_time(super().read(files).filter(pl.col("id") != "id"))


class AvazuTable(ClickTableSource):
    """Avazu as files of one's own, such as a split of BARS: a table with the times made out."""

    def derived(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Adds ``weekday`` (1 to 7), ``weekend`` and the hour ``of_day``."""
        return _with_time(rows)


def _with_time(rows: pl.LazyFrame) -> pl.LazyFrame:
    hour = pl.col("hour").cast(pl.String)  # 14102100: 2014-10-21, midnight
    day = hour.str.head(6).str.to_date("%y%m%d").dt.weekday()
    return rows.with_columns(weekday=day, weekend=day > 5, of_day=hour.str.tail(2))
