"""What was fitted on the training rows, and how it makes arrays of any rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.chance import Words, bits
from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.schema import ClickSchema, Field
from lightning_rec.data.split import ranges
from lightning_rec.data.types import Floats, Ints

SCHEMA = {
    "name": pl.String, "kind": pl.String, "start": pl.Int64, "size": pl.Int64, "width": pl.Int64
}  # fmt: skip
VOCABULARY = {"field": pl.String, "value": pl.String, "id": pl.Int32, "count": pl.Int64}
STATISTICS: dict[str, Any] = {
    "field": pl.String, "mean": pl.Float64, "deviation": pl.Float64, "edges": pl.List(pl.Float64)
}  # fmt: skip
_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class FeatureProcessor:
    """Makes ids and numbers of rows. Whatever a row holds, it has a place: nothing is refused.

    An unseen or rare category goes to its field's unknown row; an empty one to its own row if
    training has some, or the unknown one; a missing number to the mean, or, with
    buckets, where empty categories go.

    fields: what the columns mean.
    schema: the fields as models see them.
    vocabulary: ``field``, ``value`` (null for the category of empty values), ``id`` (Int32, row of
        the embedding table) and ``count`` (rows of training that have it). Fields that are hashed
        have none.
    statistics: ``field``, ``mean`` and ``deviation`` of each number in training, after the
        logarithm if there is one; ``edges`` of its buckets instead, where it has quantiles.
    """

    fields: Fields
    schema: ClickSchema
    vocabulary: pl.DataFrame
    statistics: pl.DataFrame

    def ids(self, rows: pl.DataFrame) -> NDArray[np.int32]:
        """Rows of the embedding table, int32 [n, I], of rows with the columns of the features."""
        ids = np.zeros((len(rows), self.schema.columns), dtype=np.int32)
        for field, mine in zip(self.schema.fields, slices(self.schema).values(), strict=True):
            if field.width:  # a number has no ids
                row, place, found = self.read(field, rows[field.name], field.width)
                ids[row, mine.start + place] = self.looked_up(field, found)
        return ids

    def read(self, field: Field, column: pl.Series, most: int) -> tuple[Ints, Ints, pl.Series]:
        """What a column of categories holds: row, place in it and value, null if empty, of each;
        of lists the first ``most`` values.
        """
        if field.kind == "multi_valued":
            lists = columns.lists(column, self.fields.parted_by(field.name)).list.head(most)
            return *places(lists), lists.explode(empty_as_null=False, keep_nulls=False)
        row = np.arange(len(column))
        return row, np.zeros_like(row), categories(column, self.fields, self.edges(field.name))

    def values(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        """Scaled numbers, float32 [n, D], of rows with the columns of the features."""
        values = np.zeros((len(rows), len(self.fields.scaled)), dtype=np.float32)
        for place, name in enumerate(self.fields.scaled):
            numbers = number(rows[name], self.fields)
            _, mean, deviation, _ = self.statistics.row(by_predicate=pl.col("field") == name)
            numbers = np.where(np.isnan(numbers), mean, numbers)
            if self.fields.scale != "none":
                numbers = (numbers - mean) / (deviation or 1.0)
            values[:, place] = numbers
        return values

    def tables(self) -> dict[str, pl.DataFrame]:
        """All that was fitted, by name; with ``data.fields`` of the config it can be read again."""
        schema = pl.DataFrame(
            [each[: len(SCHEMA)] for each in self.schema.fields], schema=SCHEMA, orient="row"
        )
        return {"fields": schema, "vocabulary": self.vocabulary, "statistics": self.statistics}

    @classmethod
    def of(cls, tables: Mapping[str, pl.DataFrame], fields: Fields) -> "FeatureProcessor":
        """What :meth:`tables` gave, as the tables of a run folder hold it."""
        schema, vocabulary, statistics = (tables[name] for name in TABLES)
        named = tuple(Field(*row) for row in schema.rows())
        longest = fields.history_max_len if fields.has_history else 0
        made = ClickSchema(named, fields.item, longest, tuple(fields.targets))
        return cls(fields, made.with_dims(fields.dims), vocabulary, statistics)

    @cached_property
    def _known(self) -> dict[str, pl.DataFrame]:
        parts = self.vocabulary.partition_by("field", as_dict=True)
        return {str(name): part for (name,), part in parts.items()}

    def edges(self, name: str) -> list[float]:
        """Where the buckets of a number begin, but for the first; none if it has no quantiles."""
        if not isinstance(self.fields.buckets.get(name), int):
            return []
        return list(self.statistics.row(by_predicate=pl.col("field") == name)[3])

    def looked_up(self, field: Field, values: pl.Series) -> NDArray[np.int32]:
        """The id of each value, that of the unknown where there is none: int32 [n]."""
        if field.name in self.fields.hash_size:
            hashed = field.start + 1 + buckets(values, self.fields.hash_size[field.name])
            return np.where(values.is_null().to_numpy(), field.start, hashed).astype(np.int32)
        joined = values.to_frame("value").join(
            self._known.get(field.name, self.vocabulary.clear()).select("value", "id"),
            on="value",
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        return np.asarray(joined["id"].fill_null(field.start).to_numpy())


TABLES = ("fields", "vocabulary", "statistics")


def slices(schema: ClickSchema) -> dict[str, slice]:
    """The columns of ``ids`` of each field, by its name."""
    found, start = {}, 0
    for field in schema.fields:
        found[field.name] = slice(start, start := start + field.width)
    return found


def categories(column: pl.Series, fields: Fields, edges: list[float]) -> pl.Series:
    """Categories as text, null where empty: those of the column, or its numbers' buckets."""
    kind = fields.buckets.get(column.name)
    if kind is None:
        return columns.text(column)
    found = columns.numbers(column)
    finite = np.isfinite(found)
    found = np.where(finite, found, 0.0)
    if kind == "log_square":
        bucket = np.where(found > 2, np.floor(np.log(np.maximum(found, 1)) ** 2), np.trunc(found))
    else:
        bucket = np.searchsorted(edges, found, side="right")
    text = pl.Series(column.name, bucket.astype(np.int64)).cast(pl.String)
    return text.set(pl.Series(~finite), None)


def number(column: pl.Series, fields: Fields) -> Floats:
    """Numbers before they are scaled, float64 [n]: logarithms if so declared, NaN if not finite."""
    found = columns.numbers(column)
    if fields.scale == "log":
        found = np.sign(found) * np.log1p(np.abs(found))
    return np.where(np.isfinite(found), found, np.nan)


def places(values: pl.Series) -> tuple[Ints, Ints]:
    """Row and place in it of each value of a column of lists: int64 [V], int64 [V]."""
    length = values.list.len().fill_null(0).to_numpy().astype(np.int64)
    return ranges(np.zeros_like(length), length)


def buckets(values: pl.Series, size: int) -> Ints:
    """The bucket of each text among ``size``, int64 [n] from 0."""
    return (words_of(values) % np.uint64(size)).astype(np.int64)


def words_of(values: pl.Series) -> Words:
    """The hash of each text, uint64 [n]; null is hashed as the empty text.

    FNV-1a of the UTF-8 bytes (Fowler, Noll and Vo, 64 bits), whose last bits are weak, mixed by
    SplitMix64. Polars' own hash may change with its version.
    """
    filled = values.fill_null("")
    raw = np.frombuffer(filled.str.join("").item().encode(), dtype=np.uint8)
    length = filled.str.len_bytes().to_numpy().astype(np.int64)
    order = np.argsort(-length, kind="stable")
    start, length = (np.cumsum(length) - length)[order], length[order]
    words = np.full(len(length), _BASIS)
    with np.errstate(over="ignore"):  # it is meant to wrap around
        for place in range(int(length.max(initial=0))):
            longer = int(np.searchsorted(-length, -place))  # the texts that have such a byte
            here = words[:longer]
            here ^= raw[start[:longer] + place]
            here *= _PRIME
    found = np.empty(len(order), dtype=np.uint64)
    found[order] = bits(words, np.zeros(1, dtype=np.int64))
    return found
