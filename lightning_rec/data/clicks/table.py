"""A table of clicks as its source has it, kept as Parquet: read once, found by its fingerprint."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.core.prepared import Prepared, Raw, prepared
from lightning_rec.data.prepare import prepare
from lightning_rec.data.schema import Interactions, Source
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json

TIME = "__time"  # times as Float64, where the column as it came is not so
PART = "__part"  # the column of a given split: train, val or test in each row
_VERSION = 6  # raise it whenever the same raw files would be read differently
BLOCK = 1 << 18  # rows that lie, and are read, together


class ClickSource(Raw, Protocol):
    """A data set of clicks: where its files are, how they are read, and what its columns mean."""

    fields: Fields

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """All columns of all rows, types as they come; the column ``__part`` if the split is given.

        Raises UserError naming file, line or column.
        """
        ...


@runtime_checkable
class LogClicks(Raw, Protocol):
    """Clicks that are the events of a log, with what is known of their users and items."""

    fields: Fields
    log: ClassVar[Source]

    def derived(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows with columns that are made of others."""
        ...


@dataclass(frozen=True)
class ClickTable(Prepared):
    """A table in a folder, written once and never changed.

    ``clicks.parquet``: the rows as in the source; those of a log lie in its own folder.
    ``info.json``: ``name``, ``rows``, ``data_hash``, licence, settings and files with checksums.
    """

    source: ClickSource | LogClicks | None = field(default=None, compare=False)
    log: Interactions | None = None

    def where(self, row: int) -> str:
        """Say where row ``row`` (from 0) lies: file and line where the source can tell."""
        told = f"{self.info['name']}, row {row + 1}"
        where = getattr(self.source, "where", None)
        if where is None or self.info["dropped"]:
            return told
        place = str(where(row))
        return place if ", row " in place else f"{place}, row {row + 1}"

    @property
    def rows(self) -> pl.LazyFrame:
        """The rows."""
        return self._viewed(self._stored)

    def blocks(self, *columns: str) -> Iterator[tuple[int, pl.DataFrame]]:
        """The number of the first row and some columns of each block of rows."""
        stored, rows = self._stored, self.info["rows"]
        for start in range(0, rows, BLOCK):
            yield start, self._viewed(stored.slice(start, BLOCK)).select(columns).collect()

    @property
    def _stored(self) -> pl.LazyFrame:
        if self.log is not None:
            return self.log.events
        return pl.scan_parquet(self.folder / "clicks.parquet", glob=False)

    def _viewed(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        if self.log is None:
            return rows
        assert isinstance(self.source, LogClicks)
        return self.source.derived(self.log.described(rows))


def prepare_clicks(source: ClickSource | LogClicks, cache: Path) -> ClickTable:
    """Read a source once and keep it below ``cache/prepared``. Raises UserError if the raw files
    are not to be had or faulty, hold no rows, or lack a declared field.
    """

    def write(files: list[Path], folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
        if not isinstance(source, LogClicks):
            tell(f"{source.name}: reading")
            source.read(files).sink_parquet(folder / "clicks.parquet", row_group_size=BLOCK)
        tell(f"{source.name}: taking the checksum")
        table = ClickTable(folder, source, log).rows
        rows = table.select(pl.len()).collect().item()
        if not rows:
            raise UserError(f"{source.name}: the raw files hold no rows.")
        told = source.canonical(table) if hasattr(source, "canonical") else table
        labels = source.settings().get("labels")
        dropped = getattr(source, "dropped", {})
        return {"rows": rows, "dropped": dropped, "data_hash": _data_hash(told, rows, labels)}

    log = prepare(source.log, cache) if isinstance(source, LogClicks) else None
    version = _VERSION if log is None else f"{_VERSION} of {log.folder.name}"
    table = ClickTable(prepared(source, cache, version, write), source, log)
    source.fields.check(source.name, table.rows.collect_schema().names())
    return table


def _data_hash(table: pl.LazyFrame, rows: int, labels: Mapping[str, Any] | None) -> str:
    """SHA-256 of all columns as text, by name, and of what ``labels`` are made of."""
    digest = hashlib.sha256()
    if labels is not None:
        told = {
            goal: [float(x) if isinstance(x, int | float) else x for x in made]
            for goal, made in labels.items()
        }
        digest.update(sha256_json(told).encode())
    for name, dtype in sorted(table.collect_schema().items()):
        column = pl.col(name)
        if isinstance(dtype, pl.List):
            column = column.cast(pl.List(pl.String)).list.join("\x1e")
        text = column.cast(pl.String).fill_null("\x00").str.join("\x1f")
        digest.update(f"{name} {rows}\x1d".encode())
        for start in range(0, rows, BLOCK):
            block = table.select(name).slice(start, BLOCK).select(text).collect().item()
            digest.update(f"{block}\x1f".encode())
    return digest.hexdigest()
