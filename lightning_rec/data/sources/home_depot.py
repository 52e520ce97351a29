"""Home Depot's product search relevance: what people asked for, and how well products fit it.

Kaggle, Home Depot Product Search Relevance, 2016: 74,067 pairs of the training file, each judged by
three people at least from 1 (irrelevant) to 3 (perfect match), their mean rounded.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.dialect import Dialect
from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.sources.pairs import Scale
from lightning_rec.data.sources.public import PublicSource
from lightning_rec.data.tabular import open_table
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


@dataclass(eq=False, kw_only=True)
class HomeDepot(PublicSource):
    """Search terms and products by title.

    Args:
        positive_from: the least relevance that counts as relevant: from 2.5 on it is nearer to a
            perfect match (3) than to a partial one (2).
        scale: the lowest and the highest relevance.
    """

    kind: ClassVar[str] = "pairs"
    public: ClassVar[PublicData] = HOME_DEPOT
    graded: ClassVar[bool] = True

    positive_from: float = 2.5
    scale: Scale | None = (1.0, 3.0)

    def settings(self) -> dict[str, Any]:
        """What relevance means."""
        return {"positive_from": self.positive_from, "scale": self.scale}

    def read(self, files: list[Path]) -> pl.DataFrame:
        """All rows. Raises UserError where the file is another one."""
        table = open_table(files[0], Dialect(delimiter=",", encoding="latin-1"))
        if missing := [name for name in _COLUMNS if name not in table.schema]:
            raise UserError(f"{files[0]} has no column {missing[0]}: it is not Kaggle's train.csv.")
        named = (pl.col(name).alias(role) for name, role in _COLUMNS.items())
        rows = table.collect(table.frame.select(named))
        return rows.with_columns(pl.col("relevance").cast(pl.Float64))
