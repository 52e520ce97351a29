"""Opening somebody's table: delimited text, JSON lines or Parquet, packed or not, or a folder."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import dropwhile, islice
from pathlib import Path

import polars as pl

from lightning_rec.data.dialect import UNIT, Dialect
from lightning_rec.data.plain import Part, WrongEncoding, plain_parts
from lightning_rec.data.readers import (
    alike,
    delimited,
    first_lines,
    is_json,
    is_parquet,
    json_lines,
    parted,
    reader,
)
from lightning_rec.errors import UserError


@dataclass(frozen=True)
class Table:
    """A table on disk, opened but not read.

    path: what the user named.
    parts: its files in the order they are read, as plain files.
    frames: the rows of each; columns of text are all String, so that ``007`` stays ``007``. What
        is not of one type in all parts is String too.
    separator: of a text table; None for JSON lines and Parquet.
    dialect: what the user said of it.
    """

    path: Path
    parts: list[Part]
    frames: list[pl.LazyFrame]
    separator: str | None
    dialect: Dialect

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
        """Run a query over this table in constant memory, reading every field of it.

        Raises UserError naming file and line if the file turns out to be broken or ragged.
        """
        # Projection pushdown is off because it would skip over rows with too many fields, whose
        # values may stand in the wrong columns.
        options = pl.QueryOptFlags(projection_pushdown=False)
        try:
            return query.collect(engine="streaming", optimizations=options)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self.explained(error) from error

    def sound(self) -> pl.LazyFrame:
        """All rows, of which text has been read through once, so that no fault is left in it.

        Raises UserError as :meth:`collect` does.
        """
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
        if is_parquet(part):
            return f"{part.name}, row {row + 1}"
        if not self.is_text:
            lines = (number for number, line in _numbered(part) if line.strip())
            return f"{part.name}, line {next(islice(lines, row, None), row + 1)}"
        line, _ = next(islice(self._records(part), row + self.dialect.headed, None), (row + 2, []))
        return f"{part.name}, line {line}"

    def explained(self, error: Exception) -> UserError:
        """What Polars found wrong, in a sentence: the file, the line where there are any."""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if is_parquet(self.parts[0]):
            return UserError(
                f"{self.path} cannot be read as Parquet ({reason}). Is the file complete?"
            )
        if isinstance(error, OSError):
            return UserError(f"{self.path} is broken ({reason}). Copy or download it again.")
        for part in self.parts:
            _check_encoding(part)
            if told := self._ragged(part) if self.is_text else _no_json(part):
                return UserError(told)
        return UserError(f"{self.path} cannot be read as a table ({reason}).")

    def _ragged(self, part: Part) -> str | None:
        """Say what is wrong with the text itself: the first line with too many fields, mostly."""
        records = self._records(part)
        first = "header" if self.dialect.headed else "first line"
        try:
            width = len(next(records)[1])
            for line, record in records:
                if record and len(record) > width:
                    return (
                        f"{part.name}, line {line} has {len(record)} fields where the {first} has "
                        f"{width}. A field with the separator {self.separator!r} in it needs "
                        "quotes around it."
                    )
        except csv.Error as error:
            return f"{part.name} cannot be read as a table ({error}): is a quote left open?"
        return None

    def _records(self, part: Part) -> Iterator[tuple[int, list[str]]]:
        """Yield (line it starts on, fields) for each line and the header, if there is one.

        Slow, and exact where quoted fields span lines: used only to say where an error is.
        """
        with part.path.open("rb") as raw:
            text = io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="")
            records = reader(text, self.separator or ",")
            lines = ((records.line_num - _breaks(record), record) for record in records)
            yield from dropwhile(lambda pair: not pair[1], lines)


def open_table(path: Path, dialect: Dialect | None = None) -> Table:
    """Open a table and check all that can be told from its beginning.

    Args:
        path: text, JSON lines or Parquet, packed by gzip, bzip2 or xz or not; a zip or a folder
            of such files, of which the columns must be the same.
        dialect: what the user says of a text table.

    Raises UserError if the path is missing, empty, unreadable, or no table.
    """
    dialect = dialect or Dialect()
    parts = plain_parts(path, dialect.encoding)
    if is_parquet(parts[0]):
        table = Table(path, parts, [pl.scan_parquet(part.path) for part in parts], None, dialect)
    elif is_json(parts[0]):
        table = Table(path, parts, [json_lines(part) for part in parts], None, dialect)
    else:
        separator = dialect.separator(first_lines(parts[0]))
        if len(separator) > 1 and dialect.form != "lines":
            parts = [part._replace(path=parted(part.path, separator)) for part in parts]
            separator = UNIT
        frames = [delimited(part, separator, dialect) for part in parts]
        table = Table(path, parts, frames, separator, dialect)
    try:
        return replace(table, frames=alike(parts, table.frames, is_text=table.is_text))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise table.explained(error) from error


def _numbered(part: Part) -> Iterator[tuple[int, bytes]]:
    with part.path.open("rb") as lines:
        yield from enumerate(lines, 1)


def _check_encoding(part: Part) -> None:
    """Raise WrongEncoding for the first line that is not UTF-8."""
    for number, line in _numbered(part):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            guess = "cp1252" if 0x80 <= byte < 0xA0 else "latin-1"
            raise WrongEncoding(
                f"{part.name}, line {number} is not UTF-8 text (byte 0x{byte:02x}): say in which "
                f"encoding it is, data.encoding={guess} or another.",
                guess,
            ) from error


def _no_json(part: Part) -> str | None:
    """Name the first line that is no JSON object."""
    for number, line in _numbered(part):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"{part.name}, line {number} is no JSON object, one of which is a row."
        except ValueError as error:
            return f"{part.name}, line {number} is no JSON ({error})."
    return None


def _breaks(record: list[str]) -> int:
    """Count the line breaks inside quoted fields: the record began that many lines earlier."""
    return sum(field.count("\n") for field in record)
