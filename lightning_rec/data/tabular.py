"""Opening any table: delimited text, JSON lines, Parquet or Arrow, packed, or many files."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import polars as pl

from lightning_rec.data import readers
from lightning_rec.data.dialect import UNIT, Dialect, Invalid
from lightning_rec.data.lines import (
    Ragged,
    broken,
    broken_json,
    evened,
    not_utf8,
    numbered,
    records,
)
from lightning_rec.data.plain import Part, plain_parts
from lightning_rec.errors import UserError


@dataclass(frozen=True)
class Table:
    """A table on disk, opened but not read.

    path: what the user named. dialect: what the user said of it.
    parts: its files in the order they are read, as plain files.
    frames: the rows of each; columns of text are all String, so that ``007`` stays ``007``. What is
        not of one type in all parts is String too.
    separator: of a text table; None for JSON lines, Parquet and Arrow.
    ragged: how many of the rows are blank in place of such that had too many fields.
    """

    path: Path
    parts: list[Part]
    frames: list[pl.LazyFrame]
    separator: str | None
    dialect: Dialect
    ragged: int = 0

    @property
    def is_text(self) -> bool:
        """Whether it is delimited text, whose columns are all String."""
        return self.separator is not None

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows of all parts."""
        return self.frames[0] if len(self.frames) == 1 else pl.concat(self.frames)

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns."""
        return self.frames[0].collect_schema()

    def collect(self, query: pl.LazyFrame) -> pl.DataFrame:
        """Run a query in constant memory, reading every field. Raises UserError of a fault."""
        # Projection pushdown is off because it would skip over rows with too many fields, whose
        # values may stand in the wrong columns.
        options = pl.QueryOptFlags(projection_pushdown=False)
        try:
            return query.collect(engine="streaming", optimizations=options)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.explained(error) from error

    def sound(self) -> pl.LazyFrame:
        """All rows, of which text has been read through once. Raises UserError of a fault."""
        if self.is_text:
            self.collect(self.frame.select(pl.len()))
        return self.frame

    def where(self, row: int) -> str:
        """Say where data row ``row`` (from 0) lies: file and line, or file and row in Parquet."""
        for part, frame in zip(self.parts, self.frames, strict=True):
            rows = frame.select(pl.len()).collect(engine="streaming").item()
            if row < rows or part is self.parts[-1]:
                break
            row -= rows
        if readers.typed(part):
            return f"{part.name}, row {row + 1}"
        if self.separator is None:
            lines = (number for number, line in numbered(part) if line.strip())
            return f"{part.name}, line {next(islice(lines, row, None), row + 1)}"
        found = records(part, self.separator, self.dialect)
        lines = (record.first for record in islice(found, row + self.dialect.headed, None))
        return f"{part.name}, line {next(lines, row + 2)}"

    def explained(self, error: Exception) -> UserError:
        """What Polars found wrong, in a sentence: the file, the line where there are any."""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "invalid utf8" in reason and readers.typed(self.parts[0]):
            return UserError(f"{self.path} has bytes that are no UTF-8 text: write them as text.")
        if kind := readers.typed(self.parts[0]):
            return UserError(
                f"{self.path} cannot be read as {kind} ({reason}). Is the file complete?"
            )
        if isinstance(error, OSError):
            return UserError(f"{self.path} is broken ({reason}). Copy or download it again.")
        for part in self.parts:
            told = not_utf8(part.name, numbered(part))
            if self.separator is None:
                told = told or broken_json(part)
            else:
                told = told or broken(part, self.separator, self.dialect)
            if told:
                return told
        return UserError(
            f"{self.path} cannot be read as a table ({reason}). Write it anew with a library for "
            "such files: CSV with quotes around fields that need them, JSON lines, or Parquet."
        )

    def evened(self) -> "Table":
        """The table with a blank row for each line of too many fields; UserError if all are."""
        try:
            self.sound()
        except Ragged as error:
            assert self.separator is not None
            found = [evened(part, self.separator, self.dialect) for part in self.parts]
            parts = [part for part, _ in found]
            even = _opened(self.path, parts, self.separator, self.dialect)
            ragged = sum(count for _, count in found)
            if ragged >= even.collect(even.frame.select(pl.len())).item():
                raise UserError(str(error)) from error
            return replace(even, ragged=ragged)
        return self


def open_table(path: Path, dialect: Dialect | None = None, invalid: Invalid = "error") -> Table:
    """Open a table and check all that can be told from its beginning; ``invalid="drop"`` makes a
    blank row of a line with too many fields. Raises UserError if it is missing, or no table.
    """
    dialect = dialect or Dialect()
    parts = plain_parts(path, dialect.encoding)
    separator = None
    if not readers.typed(parts[0]) and not readers.is_json(parts[0]):
        said = parts[0].separator if dialect.delimiter is None else None
        separator = said or dialect.separator(readers.first_lines(parts[0]))
        if len(separator) > 1 and dialect.form != "lines":
            parts = [part._replace(path=readers.parted(part.path, separator)) for part in parts]
            separator = UNIT
    table = _opened(path, parts, separator, dialect)
    return table.evened() if invalid == "drop" else table


def _opened(path: Path, parts: list[Part], separator: str | None, dialect: Dialect) -> Table:
    if separator is not None:
        frames = [readers.delimited(part, separator, dialect) for part in parts]
    else:
        read = readers.with_types if readers.typed(parts[0]) else readers.json_lines
        frames = [read(part) for part in parts]
    table = Table(path, parts, frames, separator, dialect)
    try:
        return replace(table, frames=readers.alike(parts, frames, is_text=table.is_text))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise table.explained(error) from error
