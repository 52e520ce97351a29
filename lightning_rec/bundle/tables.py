"""The tables of a bundle: which columns they have, and that they fit one another.

Hashes tell that a file is as it was written, not by whom: whoever can write a folder can write
these. What is wrong is told when a bundle is opened, and not by its answers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from lightning_rec.bundle.manifest import Kind
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.processor import SCHEMA, STATISTICS, TABLES, VOCABULARY
from lightning_rec.data.types import Mask
from lightning_rec.errors import UserError
from lightning_rec.monitoring import bins
from lightning_rec.monitoring.reference import MONITOR, POPULARITY

Columns = Mapping[str, Any]
_CLICKS: dict[str, Columns] = dict(zip(TABLES, (SCHEMA, VOCABULARY, STATISTICS), strict=True))
WHOLE: dict[Kind, dict[str, Columns]] = {  # tables with these columns and no others
    "sequences": {
        "users": {"user": pl.String, "items": pl.List(pl.UInt32)},
        MONITOR: bins.SCHEMA,
        POPULARITY: {"count": pl.UInt32},
    },
    "clicks": {**_CLICKS, MONITOR: bins.SCHEMA},
    "matching": {},
}
OPTIONAL: dict[str, Columns] = {  # what may be there as well
    "users": {
        "times": pl.List(pl.Int64),
        "events": pl.List(pl.UInt32),
        "about": pl.List(pl.UInt32),
    }
}
_TITLE = {"title": pl.String}


def names_of(kind: Kind) -> tuple[str, ...]:
    """The tables that a bundle of a kind may have."""
    return ("items", *WHOLE[kind])


def checked(kind: Kind, name: str, found: pl.DataFrame) -> pl.DataFrame:
    """A table with its columns in their order; items may have more.

    Raises UserError for one that lacks a column, has one too many, or one of another type.
    """
    wanted = dict(WHOLE[kind].get(name, {}))
    if name == "items":
        wanted = {} if kind == "clicks" else {"item": pl.String}
        wanted |= _TITLE if kind == "matching" or "title" in found.columns else {}
    may = OPTIONAL.get(name, {})
    wanted |= {each: dtype for each, dtype in may.items() if each in found.columns}
    if absent := [each for each in wanted if each not in found.columns]:
        raise _fault(name, f"has no column '{absent[0]}'")
    for each, dtype in wanted.items():
        if found.schema[each] != dtype:
            raise _fault(name, f"holds {found.schema[each]} in '{each}', where {dtype} belongs")
    if name != "items" and (more := [each for each in found.columns if each not in wanted]):
        raise _fault(name, f"has a column '{more[0]}', which is not of it")
    if name == "items":
        return found
    return found.select(list(wanted))


def check_items(items: pl.DataFrame, name: str = "item") -> None:
    """Raise UserError for an item without an id, or one that is there twice."""
    if items[name].is_null().any() or items[name].is_duplicated().any():
        raise _fault("items", "has an item without an id, or one twice")


def check_clicks(
    tables: Mapping[str, pl.DataFrame], items: pl.DataFrame | None, fields: Fields
) -> None:
    """Raise UserError where what was fitted for clicks does not fit ``fields``, or itself."""
    schema, vocabulary, statistics = (tables[name] for name in TABLES)
    for name, table, empty in (
        ("fields", schema, []), ("vocabulary", vocabulary, ["value"]),
        ("statistics", statistics, ["mean", "deviation", "edges"]),
    ):  # fmt: skip
        if (nulls := table.drop(empty).null_count()).sum_horizontal().sum():
            column = next(each for each in nulls.columns if nulls[each][0])
            raise _fault(name, f"has an empty cell in the column '{column}'")
    if tuple(schema["name"]) != fields.features:
        raise _fault("fields", "names other features than the manifest")
    known = vocabulary.partition_by("field", as_dict=True, maintain_order=True)
    ids = {str(field): part["id"].to_numpy() for (field,), part in known.items()}
    start = 1
    for row in schema.iter_rows(named=True):
        own = ids.pop(row["name"], np.zeros(0, np.int32))
        _check_field(row, own, start, fields)
        start += row["size"]
    if ids:
        raise _fault("vocabulary", f"has values of '{min(ids)}', which is no field with any")
    if vocabulary.select("field", "value").is_duplicated().any():
        raise _fault("vocabulary", "has a value of a field twice")
    _check_statistics(statistics, fields)
    if items is not None:
        _check_described(items, vocabulary, str(fields.item))


def _check_field(row: Mapping[str, Any], ids: Any, start: int, fields: Fields) -> None:
    name = row["name"]
    kind, narrow, wide, size = "categorical", 1, 1, 1 + len(ids)
    if name in fields.multi_valued:
        kind, wide = "multi_valued", fields.max_values
    if name in fields.scaled:
        kind, narrow, wide = "numeric", 0, 0
    if name in fields.hash_size:
        size = 1 + fields.hash_size[name]
    if name in (*fields.hash_size, *fields.scaled) and len(ids):
        raise _fault("vocabulary", f"has values of '{name}', which is no field with any")
    if (row["kind"], row["start"], row["size"]) != (kind, start, size):
        raise _fault("fields", f"has another kind, start or size of '{name}' than its values")
    if not narrow <= row["width"] <= wide:
        raise _fault("fields", f"has a width of '{name}' that is not from {narrow} to {wide}")
    if not np.array_equal(ids, np.arange(start + 1, start + 1 + len(ids))):
        raise _fault("vocabulary", f"numbers the values of '{name}' otherwise than their rows")


def _check_statistics(statistics: pl.DataFrame, fields: Fields) -> None:
    cut = [name for name in fields.numeric if isinstance(fields.buckets.get(name), int)]
    if sorted(statistics["field"]) != sorted([*cut, *fields.scaled]):
        raise _fault("statistics", "is not of the numbers of the manifest, each once")
    of = pl.col("field").is_in([*fields.scaled])
    scaled = statistics.filter(of).select("mean", "deviation")
    edges = statistics.filter(~of)["edges"]
    flat = edges.explode(empty_as_null=False, keep_nulls=True)
    numbers = [*scaled, flat]
    if edges.has_nulls() or not all(_finite(each).all() for each in numbers):
        raise _fault("statistics", "holds what is no number")
    if (scaled["deviation"] < 0).any() or any(not each.is_sorted() for each in edges):
        raise _fault("statistics", "has a deviation below 0, or edges that do not rise")


def _check_described(items: pl.DataFrame, vocabulary: pl.DataFrame, name: str) -> None:
    """Rows of items are codes: those that training had come first, in their order."""
    if items.schema.get(name) != pl.String:
        raise _fault("items", f"has no column '{name}' of texts")
    known = vocabulary.filter(pl.col("field") == name)["value"]
    if not items[name].head(len(known)).equals(known, check_names=False):
        raise _fault("items", "does not begin with the items of vocabulary.parquet")
    if items[name].is_duplicated().any():
        raise _fault("items", "has an item twice")


def _finite(numbers: pl.Series) -> Mask:
    return np.isfinite(numbers.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _fault(name: str, told: str) -> UserError:
    return UserError(f"{name}.parquet {told}: export the model again.")
