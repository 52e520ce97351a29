"""MovieLens ratings as clicks: who rated what and when, with what is known of both."""

from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import PART
from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.movielens import ML_100K, MovieLens100K

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


class MovieLens100KClicks:
    """MovieLens-100K, one row per rating, joined with users and movies.

    Columns: ``user``, ``item``, ``rating``, ``timestamp``; ``age``, ``gender``, ``occupation``,
    ``zip``; ``title``, ``year``, ``genres`` (list); ``hour`` (of the day, UTC).

    Args:
        fields: what the columns mean.
        name: of the data set, in folders and tables.
    """

    public: ClassVar[PublicData] = ML_100K
    licence: ClassVar[str] = ML_100K.licence

    def __init__(self, fields: Fields, name: str = "ml_100k_clicks") -> None:
        self.fields, self.name = fields, name

    def files(self) -> list[Path]:
        """GroupLens's files, or those of the archive; fetched if need be. Raises UserError."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Ratings in the order of the file, with all that is known of user and movie."""
        tables = MovieLens100K().read(files)
        rows = tables.interactions
        for key, about in (("user", tables.users), ("item", tables.items)):
            if about is not None:
                rows = rows.join(about, on=key, how="left", maintain_order="left")
        return rows.with_columns(hour=pl.col("timestamp") // 3600 % 24)


class MovieLens1MCoLLM:
    """MovieLens-1M as CoLLM cut it into clicks, with its own split (Zhang et al., 2023).

    Columns: ``uid``, ``iid``, ``label`` (rating 4 or 5), ``timestamp``, ``not_cold``, ``history``
    (items clicked before, parted by blanks, 0 for none), and ``title`` where items.tsv.gz is there.

    Args:
        fields: what the columns mean.
        name: of the data set, in folders and tables.
    """

    public: ClassVar[PublicData] = ML_1M_COLLM
    licence: ClassVar[str] = ML_1M_COLLM.licence

    def __init__(self, fields: Fields, name: str = "ml_1m_collm") -> None:
        self.fields, self.name = fields, name

    def files(self) -> list[Path]:
        """The three parts and the titles. Raises UserError if they are not here."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Train, validation and test below one another, each row marked."""
        types: dict[str, Any] = dict.fromkeys(("uid", "iid", "history"), pl.String)
        types |= {"label": pl.Int8, "timestamp": pl.Int64, "not_cold": pl.Int8}
        marks = {"train.tsv.gz": "train", "valid.tsv.gz": "val", "test.tsv.gz": "test"}
        rows = pl.concat(
            pl.scan_csv(file, separator="\t", schema_overrides=types).with_columns(
                pl.lit(marks[file.name]).alias(PART)
            )
            for file in files
            if file.name in marks
        )
        about = [file for file in files if file.name == "items.tsv.gz"]
        if not about:
            return rows
        named = {"iid": pl.String, "title": pl.String}
        titles = pl.scan_csv(about[0], separator="\t", schema_overrides=named, quote_char=None)
        return rows.join(titles, on="iid", how="left", maintain_order="left")
