"""Home Depot's product search relevance: what people asked for, and how well products fit it.

Kaggle, Home Depot Product Search Relevance, 2016: 74,067 pairs of the training file, each judged by
three people at least from 1 (irrelevant) to 3 (perfect match), their mean rounded.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.pairs import Scale
from lightning_rec.data.sources.public import PublicSource
from lightning_rec.errors import UserError

HOME_DEPOT = PublicData(
    name="home_depot",
    title="Home Depot",
    licence="competition data",
    users=11_793,
    items=54_667,
    events=74_067,
    megabytes=2.7,
    folders=("home-depot",),
    layouts=(Layout("gzip", ("train.csv.gz",)), Layout("csv", ("train.csv",))),
)
_COLUMNS = {
    "search_term": "query",
    "product_uid": "item",
    "product_title": "title",
    "relevance": "relevance",
}


class HomeDepot(PublicSource):
    """Search terms and products by title.

    Args:
        positive_from: the least relevance that counts as relevant: from 2.5 on it is nearer to a
            perfect match (3) than to a partial one (2).
        scale: the lowest and the highest relevance.
        name: of the data set, in folders and tables; None takes the usual one.
    """

    kind: ClassVar[str] = "pairs"
    public: ClassVar[PublicData] = HOME_DEPOT
    graded: ClassVar[bool] = True

    def __init__(
        self,
        positive_from: float = 2.5,
        scale: Scale | None = (1.0, 3.0),
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.positive_from, self.scale = positive_from, scale

    def settings(self) -> dict[str, Any]:
        """What relevance means."""
        return {"positive_from": self.positive_from, "scale": self.scale}

    def read(self, files: list[Path]) -> pl.DataFrame:
        """All rows. Raises UserError where the file is another one."""
        try:
            raw = files[0].read_bytes()
            text = gzip.decompress(raw) if files[0].suffix == ".gz" else raw
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(
                f"{files[0]} is broken ({error}). Copy or download it again."
            ) from error
        types = dict.fromkeys(_COLUMNS, pl.String)
        # The file is Latin-1, in which every byte is a character.
        table = pl.read_csv(text.decode("latin-1").encode(), schema_overrides=types)
        if missing := [name for name in _COLUMNS if name not in table.columns]:
            raise UserError(f"{files[0]} has no column {missing[0]}: it is not Kaggle's train.csv.")
        named = table.select(pl.col(name).alias(role) for name, role in _COLUMNS.items())
        return named.with_columns(pl.col("relevance").cast(pl.Float64))
