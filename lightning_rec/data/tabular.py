"""Opening somebody's table: CSV, TSV, gzip of either, Parquet, or a folder of Parquet."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import dropwhile, islice
from pathlib import Path

import polars as pl

from lightning_rec.errors import UserError, listed, nearest

SEPARATORS = ",\t;|"
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Table:
    """A table on disk, opened but not read.

    path: what the user named.
    files: the file itself, or the Parquet files of the folder in the order they are read.
    frame: the rows; columns of a text table are all String, so that ``007`` stays ``007``.
    separator: of a text table; None for Parquet.
    """

    path: Path
    files: list[Path]
    frame: pl.LazyFrame
    separator: str | None

    @property
    def schema(self) -> pl.Schema:
        """Names and types of the columns."""
        return self.frame.collect_schema()

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
            raise UserError(self._explain(error)) from error

    def sound(self) -> pl.LazyFrame:
        """All rows, of which text has been read through once, so that no fault is left in it.

        Raises UserError as :meth:`collect` does.
        """
        if self.separator is not None:
            self.collect(self.frame.select(pl.len()))
        return self.frame

    def where(self, row: int) -> str:
        """Say where data row ``row`` (from 0) lies: file and line, or file and row in Parquet."""
        if self.separator is None:
            for file in self.files:
                rows = pl.scan_parquet(file).select(pl.len()).collect().item()
                if row < rows:
                    return f"{file}, row {row + 1}"
                row -= rows
        line, _ = next(islice(self._records(), row + 1, None), (row + 2, []))
        return f"{self.path}, line {line}"

    def _explain(self, error: Exception) -> str:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if self.separator is None:
            return f"{self.path} cannot be read as Parquet ({reason}). Is the file complete?"
        if isinstance(error, OSError):
            return f"{self.path} is broken ({reason}). Copy or download it again."
        if "utf-8" in reason.lower():
            return f"{self.path} is not UTF-8 text. Convert it first, e.g. with iconv."
        return self._ragged() or f"{self.path} cannot be read as a table ({reason})."

    def _ragged(self) -> str | None:
        """Say what is wrong with the text itself: the first line with too many fields, mostly."""
        records = self._records()
        try:
            width = len(next(records)[1])
            for line, record in records:
                if record and len(record) > width:
                    return (
                        f"{self.path}, line {line} has {len(record)} fields where the header has "
                        f"{width}. A field with the separator {self.separator!r} in it needs "
                        "quotes around it."
                    )
        except csv.Error as error:
            return f"{self.path} cannot be read as a table ({error}): is a quote left open?"
        except (OSError, EOFError, zlib.error) as error:
            return f"{self.path} is broken ({error}). Copy or download it again."
        return None

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line it starts on, fields) for the header and each row after it.

        Slow, and exact where quoted fields span lines: used only to say where an error is.
        """
        opener = gzip.open if _is_gzip(self.path) else open
        with opener(self.path, "rb") as raw:
            text = io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="")
            reader = csv.reader(text, delimiter=self.separator or ",")
            lines = ((reader.line_num - _breaks(record), record) for record in reader)
            yield from dropwhile(lambda pair: not pair[1], lines)


def table_files(path: Path) -> list[Path]:
    """List the files of a table: the file, or the Parquet files below a folder, sorted.

    Raises UserError if there is nothing there, with the nearest name that is.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.parquet") if file.is_file())
        if not files:
            there = listed(sorted(child.name for child in path.iterdir())) or "nothing"
            raise UserError(f"The folder {path} has no .parquet files (it holds: {there}).")
        return files
    if not path.exists():
        # A parent that is a file, or may not be listed, has no siblings to offer.
        parent = path.parent
        siblings = [child.name for child in parent.iterdir()] if parent.is_dir() else []
        raise UserError(f"There is no file or folder {path}.{nearest(path.name, siblings)}")
    return [path]


def open_table(path: Path) -> Table:
    """Open a table and check all that can be told from its beginning.

    Raises UserError if the path is missing, empty, unreadable, or no table.
    """
    files = table_files(path)
    for file in files:
        if file.stat().st_size == 0:
            raise UserError(f"{file} is empty (0 bytes).")
    if path.is_dir() or path.suffix == ".parquet" or _starts(path, b"PAR1"):
        table = Table(path, files, pl.scan_parquet(files), None)
        for file in files[1:]:
            same_columns(files[0], _columns(files[0]), file, _columns(file))
    else:
        header = _header(path)
        separator = max(SEPARATORS, key=header.count)
        frame = pl.scan_csv(path, separator=separator, infer_schema=False)
        table = Table(path, files, frame, separator)
    table.collect(table.frame.head(0))
    return table


def same_columns(first: Path, there: Iterable[str], path: Path, here: Iterable[str]) -> None:
    """Raise UserError, saying which, if the columns of ``path`` are not those of ``first``."""
    missing, more = sorted(set(there) - set(here)), sorted(set(here) - set(there))
    if missing or more:
        told = [f"lacks {listed(missing)}"] * bool(missing) + [f"has {listed(more)}"] * bool(more)
        raise UserError(f"{path} does not have the columns of {first}: it {' and '.join(told)}.")


def _columns(file: Path) -> list[str]:
    """The columns of a Parquet file. Raises UserError if it is none."""
    try:
        return list(pl.read_parquet_schema(file))
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{file} cannot be read as Parquet ({reason}). Is the file complete?"
        ) from error


def _header(path: Path) -> str:
    """First line of a text file. Raises UserError if it is not text."""
    try:
        with (gzip.open if _is_gzip(path) else open)(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is broken ({error}). Copy or download it again.") from error
    if b"\0" in head:
        raise UserError(
            f"{path} is not a text table (it has binary content). "
            "CSV or TSV in UTF-8, gzip of them, or Parquet can be read."
        )
    text = head.decode("utf-8-sig", errors="replace").strip()
    if not text:
        raise UserError(f"{path} is empty (blank lines only).")
    return text.splitlines()[0]


def _is_gzip(path: Path) -> bool:
    return _starts(path, b"\x1f\x8b")


def _starts(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _breaks(record: list[str]) -> int:
    """Count the line breaks inside quoted fields: the record began that many lines earlier."""
    return sum(field.count("\n") for field in record)
