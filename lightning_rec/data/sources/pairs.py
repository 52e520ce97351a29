"""Anybody's own pairs of a query and an item, from any table that is read here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.names import no_column
from lightning_rec.data.plain import READ, table_files
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import NotSet, UserError

Scale = tuple[float, float]


@dataclass(eq=False)
class PairTable:
    """Reads pairs from ``path``.

    Args:
        path: delimited text, JSON lines, Parquet or Arrow, packed or not, or a folder of such
            files. Must be set.
        query: column of what was asked for. Must be set.
        title: column of the items' texts. Must be set.
        item: column of item ids; None takes the titles.
        relevance: column of how well they fit, numbers; None: every pair is a relevant one.
        positive_from: the least relevance that counts as relevant. Must be set with ``relevance``.
        scale: the lowest and the highest relevance; None takes those that occur.
        name: of the data set; None takes the file's.
    """

    kind: ClassVar[str] = "pairs"
    licence: ClassVar[str] = "yours"

    path: str | None = None
    query: str | None = None
    title: str | None = None
    item: str | None = None
    relevance: str | None = None
    positive_from: float | None = None
    scale: Scale | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.path is None:
            raise NotSet(f"data.path is not set: say data.path=FILE, {READ}.")
        if self.query is None or self.title is None:
            missing = "query" if self.query is None else "title"
            raise NotSet(f"data.{missing} is not set: name a column, data.{missing}=COLUMN.")
        if self.relevance is not None and self.positive_from is None:
            raise NotSet(
                "data.positive_from is not set: say from which value in column "
                f"'{self.relevance}' on a pair counts as relevant, data.positive_from=NUMBER."
            )
        if self.scale is not None and self.scale[0] >= self.scale[1]:
            raise UserError(f"data.scale={list(self.scale)}: the lowest relevance comes first.")
        self.graded = self.relevance is not None
        self.positive_from = 1.0 if self.positive_from is None else self.positive_from
        self.file = Path(self.path).expanduser()
        self.name = self.name or self.file.name.split(".")[0] or "pairs"
        roles = {
            "query": self.query,
            "item": self.item or self.title,
            "title": self.title,
            "relevance": self.relevance,
        }
        self.columns = {role: column for role, column in roles.items() if column is not None}

    def files(self) -> list[Path]:
        """The files. Raises UserError if there are none."""
        return table_files(self.file)

    def settings(self) -> dict[str, Any]:
        """Which columns are read, and what relevance means."""
        return {**self.columns, "positive_from": self.positive_from, "scale": self.scale}

    def read(self, files: list[Path]) -> pl.DataFrame:
        """All rows. Raises UserError for what is broken, missing or no number."""
        table = open_table(self.file)
        names = table.schema.names()
        for role, column in self.columns.items():
            if column not in names:
                raise UserError(no_column(self.file, column, f"data.{role}", names))
        chosen = [pl.col(column).alias(role) for role, column in self.columns.items()]
        rows = table.collect(table.frame.select(chosen))
        texts = [
            pl.when(text.str.strip_chars() != "").then(text)
            for text in (pl.col(role).cast(pl.String) for role in ("query", "item", "title"))
        ]
        if not self.graded:
            return rows.select(*texts, relevance=pl.lit(1.0))
        values, column = rows["relevance"], self.columns["relevance"]
        numbers = values.cast(pl.Float64, strict=False)
        bad = (numbers.is_null() | ~numbers.fill_null(0).is_finite()).arg_true()
        if len(bad):
            more = f" ({len(bad):,} such rows)" if len(bad) > 1 else ""
            raise UserError(
                f"{table.where(int(bad[0]))}: '{values[int(bad[0])]}' in column '{column}' for "
                f"data.relevance is no number{more}."
            )
        return rows.select(texts).with_columns(relevance=numbers)
