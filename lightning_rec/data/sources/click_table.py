"""Anybody's own clicks: delimited text, JSON lines or Parquet, packed or not, or one per part."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.reading import canonical, read_rows, with_points, with_times
from lightning_rec.data.clicks.table import PART
from lightning_rec.data.ids import ids
from lightning_rec.data.readers import same_columns
from lightning_rec.data.sources.table import OwnTable
from lightning_rec.data.tabular import Table, open_table


@dataclass(eq=False, kw_only=True)
class ClickTableSource(OwnTable):
    """Reads clicks from ``path``, all rows of it or those of training.

    Args:
        fields: what the columns mean.
    """

    kind: ClassVar[str] = "clicks"

    fields: Fields

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dropped: dict[str, int] = {}  # rows left out by the last read, by column

    def settings(self) -> dict[str, Any]:
        """Which parts there are, how they are written, and what the columns mean."""
        parts = ("categorical", "multi_valued", "numeric", "separator")
        return {
            "parts": list(self.paths),
            "invalid": self.invalid,
            **asdict(self.dialect),
            "times": asdict(self.times),
            "fields": {part: getattr(self.fields, part) for part in parts} | self.fields.roles(),
            "labels": self.fields.labels(),
        }

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """All columns; those of text files are all text. Raises UserError for what is broken."""
        tables = self._open()
        first = tables["train"]
        self.fields.check(str(first.path), self.derived(first.frame).collect_schema().names())
        for table in tables.values():
            same_columns(first.path, first.schema, table.path, table.schema)
        dropped, parts = Counter[str](), []
        frames = {part: self.derived(table.frame) for part, table in tables.items()}
        if self.fields.time is not None:
            frames = with_times(tables, frames, self.fields.time, self.times)
        for part, frame in _alike(frames).items():
            table = tables[part]
            pointed = with_points(frame, self.fields, table.dialect.decimal)
            rows, left_out = read_rows(table, pointed, self.fields, self.invalid)
            dropped.update(left_out)
            mark = [pl.lit(part).alias(PART)] if len(tables) > 1 else []
            parts.append(rows.with_columns(mark))
        self.dropped = dict(dropped)
        return pl.concat(parts)

    def canonical(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows that were read in the one form that they have whatever file they came from."""
        return rows.select(canonical(rows, self.fields))

    def where(self, row: int) -> str:
        """Say where row ``row`` (from 0) of what is read lies, where none was left out."""
        for table in self._open().values():
            rows = table.frame.select(pl.len()).collect(engine="streaming").item()
            if row < rows:
                break
            row -= rows
        return table.where(row)

    def _open(self) -> dict[str, Table]:
        opened = (open_table(path, self.dialect, self.invalid) for path in self.paths.values())
        return dict(zip(self.paths, opened, strict=True))

    def derived(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with columns that are made of others; here there are none."""
        return rows


def _alike(frames: dict[str, pl.LazyFrame]) -> dict[str, pl.LazyFrame]:
    """The rows of each part, columns in one order and type: else text, or lists of it."""
    schemas = {part: frame.collect_schema() for part, frame in frames.items()}
    names = schemas["train"].names()
    types = {name: {schema[name] for schema in schemas.values()} for name in names}
    return {
        part: frame.select(
            pl.col(name) if len(types[name]) == 1 else _text(name, schemas[part][name])
            for name in names
        )
        for part, frame in frames.items()
    }


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.List | pl.Array):
        quoted = pl.lit('"') + pl.element().str.replace_all(r'(["\\])', r"\${1}") + pl.lit('"')
        joined = pl.col(name).cast(pl.List(pl.String)).list.eval(quoted).list.join(", ")
        return pl.format("[{}]", joined).alias(name)
    return ids(pl.col(name), dtype)
