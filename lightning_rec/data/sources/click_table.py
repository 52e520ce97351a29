"""Anybody's own clicks: a CSV, TSV, gzip of either, Parquet, or a folder of it, or one per part."""

from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import PART
from lightning_rec.data.plain import table_files
from lightning_rec.data.readers import same_columns
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError


class ClickTableSource:
    """Reads clicks from ``path``, all rows of it or those of training.

    Args:
        fields: what the columns mean.
        path: CSV, TSV, gzip of either, Parquet, or a folder of Parquet. Must be set.
        val: a second file, for validation, with the same columns; ``path`` is for training then,
            and ``protocol=given_rows`` keeps the parts. None where there is none.
        test: a third file, for the test.
        name: of the data set; None takes the file's.

    Raises:
        UserError: if ``path`` is not set, or ``val`` is given without ``test``.
    """

    licence: ClassVar[str] = "yours"

    def __init__(
        self,
        fields: Fields,
        path: str | None = None,
        val: str | None = None,
        test: str | None = None,
        name: str | None = None,
    ) -> None:
        if path is None:
            raise UserError("data.path is not set: say data.path=FILE, a CSV, TSV or Parquet file.")
        if val is not None and test is None:
            raise UserError(f"data.val={val} needs data.test=FILE beside it.")
        self.fields = fields
        given = {"train": path, "val": val, "test": test}
        self.paths = {part: Path(file).expanduser() for part, file in given.items() if file}
        self.name = name or self.paths["train"].name.split(".")[0] or "table"

    def files(self) -> list[Path]:
        """All files, those of training first. Raises UserError if one is missing."""
        return [file for path in self.paths.values() for file in table_files(path)]

    def settings(self) -> dict[str, Any]:
        """Which parts there are."""
        return {"parts": list(self.paths)}

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """All columns; those of text files are all text. Raises UserError for what is broken."""
        tables = {part: open_table(path) for part, path in self.paths.items()}
        first = tables["train"]
        self.fields.check(str(first.path), self.derived(first.frame).collect_schema().names())
        for table in tables.values():
            same_columns(first.path, first.schema, table.path, table.schema)
        names = first.schema.names()
        parts = {part: table.sound().select(names) for part, table in tables.items()}
        if len(parts) == 1:
            return self.derived(parts["train"])
        named = [rows.with_columns(pl.lit(part).alias(PART)) for part, rows in parts.items()]
        return self.derived(pl.concat(named, how="vertical_relaxed"))

    def derived(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with columns that are made of others; here there are none."""
        return rows
