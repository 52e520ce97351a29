"""MovieLens ratings as clicks: who rated what and when, with what is known of both."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from lightning_rec.data.clicks.table import LogClicks
from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.schema import Source
from lightning_rec.data.sources.movielens import ML_100K, MovieLens100K, WithGraph
from lightning_rec.data.sources.public import PublicClicks

ML_1M_COLLM = PublicData(
    name="ml_1m_collm",
    title="MovieLens-1M of CoLLM",
    licence="research only, no redistribution",
    users=838,
    items=3_255,
    events=51_623,
    megabytes=0.6,
    folders=("ml-1m-collm-ctr",),
    layouts=(Layout("collm", ("train.tsv.gz", "valid.tsv.gz", "test.tsv.gz"), ("items.tsv.gz",)),),
)


@dataclass(eq=False, kw_only=True)
class MovieLens100KClicks(WithGraph, PublicClicks, LogClicks):
    """MovieLens-100K, one row per rating, joined with users and movies.

    Columns: ``user``, ``item``, ``rating``, ``timestamp``; ``age``, ``gender``, ``occupation``,
    ``zip``; ``title``, ``year``, ``genres`` (list); ``hour`` (of the day, UTC). ``graph``: see
    :class:`~lightning_rec.data.sources.movielens.WithGraph`.
    """

    public: ClassVar[PublicData] = ML_100K
    log: ClassVar[Source] = MovieLens100K()
    published: ClassVar = (
        {"click": ("rating", 4.0)},
        {"like": ("rating", 4.0), "love": ("rating", 5.0)},
    )

    def derived(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Ratings in the order of the file, with the hour of the day."""
        return rows.with_columns(hour=pl.col("timestamp") // 3600 % 24)


class MovieLens1MCoLLM(PublicClicks):
    """MovieLens-1M as CoLLM cut it into clicks, with its own split (Zhang et al., 2023).

    Columns: ``uid``, ``iid``, ``label`` (rating 4 or 5), ``timestamp``, ``not_cold``, ``history``
    (items clicked before, parted by blanks; the 0 that each begins with in the files is no item),
    and ``title`` where items.tsv.gz is there.
    """

    public: ClassVar[PublicData] = ML_1M_COLLM
    csv: ClassVar = {
        "separator": "\t",
        "schema_overrides": {
            **dict.fromkeys(("uid", "iid", "history"), pl.String),
            **{"label": pl.Int8, "timestamp": pl.Int64, "not_cold": pl.Int8},
        },
    }

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Train, validation and test below one another, with the titles."""
        rows = super().read(files).with_columns(pl.col("history").str.replace("^0( |$)", ""))
        about = [file for file in files if file.name == "items.tsv.gz"]
        if not about:
            return rows
        named = {"iid": pl.String, "title": pl.String}
        titles = pl.scan_csv(
            about[0], separator="\t", schema_overrides=named, quote_char=None, glob=False
        )
        return rows.join(titles, on="iid", how="left", maintain_order="left")
