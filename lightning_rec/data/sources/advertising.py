"""Samples of Criteo and Avazu in the real formats: advertisements shown, and whether clicked."""

from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import PART
from lightning_rec.data.fetch import Layout, PublicData

_MARKS = {"train": "train", "dev": "val", "test": "test"}  # by the beginnings of the files' names
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
    users=0,
    items=0,
    events=8_000,
    megabytes=0.7,
    folders=("criteo-sample",),
    layouts=(Layout("sample", ("train.tsv.gz", "dev.tsv.gz", "test.tsv.gz")),),
)
AVAZU_SAMPLE = PublicData(
    name="avazu_sample",
    title="Avazu (sample)",
    licence="competition data",
    users=0,
    items=0,
    events=8_999,
    megabytes=0.3,
    folders=("avazu-sample",),
    layouts=(Layout("sample", ("train.csv.gz", "dev.csv.gz", "test.csv.gz")),),
)


class CriteoSample:
    """Criteo's display advertising: ``label``, numbers ``I1`` to ``I13``, ``C1`` to ``C26``.

    Tab separated without a header, in three files.

    Args:
        fields: what the columns mean.
        name: of the data set, in folders and tables.
    """

    public: ClassVar[PublicData] = CRITEO_SAMPLE
    licence: ClassVar[str] = CRITEO_SAMPLE.licence

    def __init__(self, fields: Fields, name: str = "criteo_sample") -> None:
        self.fields, self.name = fields, name

    def files(self) -> list[Path]:
        """The three parts. Raises UserError if they are not here."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Train, validation and test below one another, each row marked."""
        types = {name: pl.String if name[0] == "C" else pl.Int64 for name in _CRITEO}
        return pl.concat(
            pl.scan_csv(file, separator="\t", has_header=False, schema=types).with_columns(
                pl.lit(_MARKS[file.name.partition(".")[0]]).alias(PART)
            )
            for file in files
        )


class AvazuSample:
    """Avazu's mobile advertising: ``click`` and categories, with ``weekday`` and hour ``of_day``.

    Comma separated; the first of the three files has a header.

    Args:
        fields: what the columns mean.
        name: of the data set, in folders and tables.
    """

    public: ClassVar[PublicData] = AVAZU_SAMPLE
    licence: ClassVar[str] = AVAZU_SAMPLE.licence

    def __init__(self, fields: Fields, name: str = "avazu_sample") -> None:
        self.fields, self.name = fields, name

    def files(self) -> list[Path]:
        """The three parts. Raises UserError if they are not here."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Train, validation and test below one another, each row marked."""
        rows = pl.concat(
            pl.scan_csv(file, has_header=False, schema=dict.fromkeys(_AVAZU, pl.String))
            .filter(pl.col("id") != "id")
            .with_columns(pl.lit(_MARKS[file.name.partition(".")[0]]).alias(PART))
            for file in files
        )
        hour = pl.col("hour")  # 14102100: 2014-10-21, midnight
        day = hour.str.head(6).str.to_date("%y%m%d")
        return rows.with_columns(weekday=day.dt.weekday(), of_day=hour.str.tail(2))
