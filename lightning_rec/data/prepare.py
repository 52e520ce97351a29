"""From raw files to coded Parquet, once: later runs find the result by its fingerprint."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.columns import told_dropped
from lightning_rec.data.core.prepared import prepared
from lightning_rec.data.ids import as_text
from lightning_rec.data.schema import Interactions, Source, Tables
from lightning_rec.errors import UserError, listed
from lightning_rec.files import sha256_json

PREPARED_VERSION = 3  # raise it whenever the same raw files would be prepared differently
_CANONICAL = {
    "user": pl.String,
    "item": pl.String,
    "timestamp": pl.Int64,
    "fraction": pl.Int32,
    "rating": pl.Float32,
    "part": pl.Int8,
}
_UNKNOWN = 0.05  # share of the items of a log without a row in the catalogue that is told

log = logging.getLogger(__name__)


def prepare(source: Source, cache: Path) -> Interactions:
    """Read a source's raw files once and keep them, coded, below ``cache/prepared``. Raises
    UserError if they are not to be had or faulty, hold no rows, or the cache cannot be written.
    """
    return Interactions(prepared(source, cache, PREPARED_VERSION, partial(_write, source)))


def _write(
    source: Source, files: list[Path], folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    tell(f"{source.name}: reading")
    tables = source.read(files)
    # Kept for a moment with ids as they came: text is parsed once, and each pass below reads
    # only the columns that it needs.
    staged = folder / "staged.parquet"
    tables.interactions.sink_parquet(staged)
    events = pl.scan_parquet(staged, glob=False)
    largest = events.select(pl.max("^fraction$")).collect(engine="streaming")
    if largest.width and not largest.item():
        events = events.drop("fraction")  # no time has one
    _check(source.name, events)
    tell(f"{source.name}: coding the ids")
    users, items = _codes(events, "user"), _codes(events, "item")
    _encoded(events, users, items).sink_parquet(folder / "interactions.parquet")
    staged.unlink()
    known = items.height
    notes = [*_notes(source.name, users["user"], items["item"], tables)]
    items = _described(source.name, items, tables.items, "item", keep_rest=True)
    users = _described(source.name, users, tables.users, "user", keep_rest=False)
    items.write_parquet(folder / "items.parquet")
    users.write_parquet(folder / "users.parquet")
    tell(f"{source.name}: taking the checksum")
    written = pl.scan_parquet(folder / "interactions.parquet", glob=False)
    time = pl.col("^timestamp$")  # if there is one
    period = (time.min().name.prefix("first_"), time.max().name.prefix("last_"))
    facts = written.select(pl.len().alias("events"), *period).collect(engine="streaming")
    return {
        "data_hash": data_hash(Interactions(folder)),
        "catalogue_hash": catalogue_hash(items),
        "users": users.height,
        "items": items.height,
        "items_without_events": items.height - known,
        "dropped": dict(tables.dropped),
        "notes": notes,
        "first_timestamp": None,
        "last_timestamp": None,
        **facts.row(0, named=True),
    }


def _check(name: str, events: pl.LazyFrame) -> None:
    """Raise UserError unless there are rows and each has all its values, whatever the source."""
    schema = events.collect_schema()
    for column, dtype in schema.items():
        if column in _CANONICAL and dtype != _CANONICAL[column]:
            raise TypeError(f"{name}: column {column} is {dtype}, not {_CANONICAL[column]}")
    empty = [pl.col(column).null_count() for column in _CANONICAL if column in schema]
    empty += [(pl.col(column) == "").sum().alias(f"{column} ''") for column in ("user", "item")]
    counted = events.select(pl.len().alias("rows"), *empty).collect(engine="streaming")
    found = counted.row(0, named=True)
    if found.pop("rows") == 0:
        raise UserError(f"{name}: the raw files hold no interactions.")
    if faults := {column.split()[0]: count for column, count in found.items() if count}:
        counts = listed(f"{count:,} without {column}" for column, count in faults.items())
        raise UserError(f"{name}: rows of the raw files have gaps: {counts}.")


def _codes(events: pl.LazyFrame, key: str) -> pl.DataFrame:
    """Ids in the order of their first row, ``key`` String: row ``i`` is code ``i``."""
    first = pl.col("row").min()
    found = events.select(key).with_row_index("row").group_by(key).agg(first).sort("row")
    return found.select(key).collect(engine="streaming")


def _encoded(events: pl.LazyFrame, users: pl.DataFrame, items: pl.DataFrame) -> pl.LazyFrame:
    # One order of columns, whatever that of the raw file.
    names = events.collect_schema().names()
    columns = [name for name in _CANONICAL if name in names]
    columns += [name for name in names if name not in _CANONICAL]
    for key, ids in (("user", users), ("item", items)):
        codes = ids.lazy().with_row_index("code").with_columns(pl.col("code").cast(pl.Int32))
        events = events.join(codes, on=key, how="left", maintain_order="left")
        events = events.drop(key).rename({"code": key})
    return events.select(columns)


def _described(
    name: str, ids: pl.DataFrame, table: pl.LazyFrame | None, key: str, keep_rest: bool
) -> pl.DataFrame:
    """Join what is known about each id, once; rows without interactions come last."""
    if table is None:
        return ids
    described = table.collect()
    if described[key].is_duplicated().any():
        doubled = described.filter(pl.col(key).is_duplicated())[key].unique(maintain_order=True)
        raise UserError(f"{name}: these {key} ids are described twice: {listed(doubled, 5)}.")
    joined = ids.join(described, on=key, how="left", maintain_order="left")
    if keep_rest:
        rest = described.join(ids, on=key, how="anti", maintain_order="left")
        joined = pl.concat([joined, rest.select(joined.columns)])
    return joined


def _notes(name: str, users: pl.Series, items: pl.Series, tables: Tables) -> Iterator[str]:
    """Say how many rows were dropped, and whether a table beside the log lacks many of its ids."""
    if tables.dropped:
        yield f"{name}: {told_dropped(tables.dropped)}."
    for ids, table, role, called, lack in (
        (items, tables.items, "item", "the catalogue does not know", "title and no features"),
        (users, tables.users, "user", "the table of users does not know", "features"),
    ):
        if table is None:
            continue
        described = table.select(role).collect()[role]
        unknown = ids.filter(~ids.is_in(described.implode()))
        if len(unknown) > _UNKNOWN * len(ids):
            there = "the catalogue has" if role == "item" else "it has"
            yield (
                f"{name}: of {len(ids):,} {role}s of the log {called} {len(unknown):,} "
                f"({listed(unknown, 3)}; {there} {listed(described.head(3), 3)}): they have no "
                f"{lack}. Are the ids of the same kind?"
            )


def data_hash(data: Interactions) -> str:
    """SHA-256 of what any split and model can depend on: ids by code, codes, times, ratings. The
    same for the same data out of different raw files, and blind to titles and features.
    """
    digest = hashlib.sha256()
    for key, table in (("user", data.users), ("item", data.items)):
        digest.update(sha256_json(table[key].to_list()).encode())
    for column in data.events.collect_schema().names():
        if column in _CANONICAL:
            values = data.events.select(column).collect()[column].to_numpy()
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{column} {len(values)} {little.dtype.str}".encode())
            digest.update(little.tobytes())
    return digest.hexdigest()


def catalogue_hash(items: pl.DataFrame) -> str | None:
    """SHA-256 of what the catalogue says of the items, in the order of their codes; None where
    nothing is known but ids. The same for the same titles and features out of different files.
    """
    digest, names = hashlib.sha256(), sorted(set(items.columns) - {"item"})
    for name in names:
        column = items[name]
        if not column.dtype.is_nested():
            column = items.select(as_text(pl.col(name), column.dtype).fill_null("")).to_series()
        digest.update(f"{name} {sha256_json(column.to_list())}".encode())
    return digest.hexdigest() if names else None
