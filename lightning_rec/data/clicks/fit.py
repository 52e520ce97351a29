"""Vocabularies, buckets and statistics of fields, from the training rows alone, block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from lightning_rec.data.clicks import cells, columns
from lightning_rec.data.clicks.fields import Fields, Kind
from lightning_rec.data.clicks.processor import (
    STATISTICS,
    VOCABULARY,
    FeatureProcessor,
    categories,
    number,
)
from lightning_rec.data.clicks.schema import ClickSchema, Field
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.numbers import remedy
from lightning_rec.data.types import Floats, Mask
from lightning_rec.errors import UserError

MOST_CATEGORIES = 20_000_000  # of one field; more is hardly ever meant
MOST_SAMPLED = 10_000_000  # numbers that quantiles are made of; of more training rows, a sample
_BYTES = 4 * 4 * 16  # weight, gradient and two moments of a vector of 16 floats


def fit(
    table: ClickTable, fields: Fields, train: Mask, given: pl.DataFrame | None = None
) -> FeatureProcessor:
    """Fit all fields on the rows of ``train``, bool [N]; ``given``: the statistics of an earlier
    run, which are kept. Raises UserError for what is no number.
    """
    fitter = _Fitter(table, fields, train, given)
    for name in fields.singles:
        fitter.single(name)
    for name in fields.multi_valued:
        fitter.lists(name)
    for name in fields.scaled:
        fitter.scaled(name)
    return FeatureProcessor(
        fields,
        ClickSchema(tuple(fitter.done), goals=tuple(fields.targets)),
        pl.concat([pl.DataFrame(schema=VOCABULARY), *fitter.vocabulary]),
        pl.DataFrame(fitter.statistics, schema=STATISTICS, orient="row"),
    )


@dataclass
class _Fitter:
    """Fields fitted so far."""

    table: ClickTable
    fields: Fields
    train: Mask
    given: pl.DataFrame | None = None  # statistics
    done: list[Field] = field(default_factory=list)
    vocabulary: list[pl.DataFrame] = field(default_factory=list)
    statistics: list[tuple[str, float | None, float | None, list[float] | None]] = field(
        default_factory=list
    )

    def single(self, name: str) -> None:
        """A field of one category in each row."""
        edges: list[float] = []
        if name in self.fields.buckets:
            self._check_numbers(name)
            number = self.fields.buckets[name]
            if isinstance(number, int):
                edges = self._edges(name, number)
                self.statistics.append((name, None, None, edges))
        read = (categories(block, self.fields, edges) for block in self._training(name))
        if self.fields.missing == "unknown":
            read = (values.drop_nulls() for values in read)
        self._categorical(name, "categorical", 1, self._known(name, read))

    def lists(self, name: str) -> None:
        """A field of as many values as the longest list of training, at most ``max_values``."""
        width = 1

        def read() -> Iterator[pl.Series]:
            nonlocal width
            for block in self._training(name):
                lists = columns.lists(block, self.fields.parted_by(name))
                cut = lists.list.head(self.fields.max_values)
                width = max(width, int(cut.list.len().fill_null(0).to_numpy().max(initial=0)))
                yield cut.explode(empty_as_null=False, keep_nulls=False)

        known = self._known(name, read())
        self._categorical(name, "multi_valued", width, known)

    def scaled(self, name: str) -> None:
        """A number: mean and deviation of those that are there."""
        self._check_numbers(name)
        count, mean, squares = 0, 0.0, 0.0
        for block in self._training(name) if self.given is None else ():
            found = number(block, self.fields)
            found = found[~np.isnan(found)]
            if len(found):  # Chan, Golub and LeVeque, 1983: the moments of both from those of two
                off, share = float(found.mean()) - mean, len(found) / (count + len(found))
                squares += float(found.var() * len(found)) + count * share * off**2
                mean += share * off
                count += len(found)
        deviation = float(np.sqrt(squares / count)) if count else 0.0
        if self.given is not None:
            _, mean, deviation, _ = self.given.row(by_predicate=pl.col("field") == name)
        self.statistics.append((name, mean, deviation, None))
        self.done.append(Field(name, "numeric", self._next_row, 1, 0))

    @property
    def _next_row(self) -> int:
        return 1 + sum(field.size for field in self.done)

    def _training(self, name: str) -> Iterator[pl.Series]:
        for start, frame in self.table.blocks(name):
            yield frame[name].filter(pl.Series(self.train[start : start + len(frame)]))

    def _check_numbers(self, name: str) -> None:
        faults = columns.Faults(self.table)
        for start, frame in self.table.blocks(name):
            faults.add(start, frame[name], columns.words(frame[name]))
        faults.told(
            f"'{{value}}' in column '{name}' is no number up to {cells.MOST:g}, but "
            "data.fields declares it as one",
            remedy,
        )

    def _edges(self, name: str, number: int) -> list[float]:
        """The inner quantiles of training that part ``number`` buckets; equal ones count once."""
        if self.given is not None:
            return list(self.given.row(by_predicate=pl.col("field") == name)[3])
        found = sampled(map(columns.numbers, self._training(name)), int(self.train.sum()))
        shares = np.arange(1, number) / number
        return np.unique(np.quantile(found, shares)).tolist() if len(found) else []

    def _known(self, name: str, values: Iterable[pl.Series]) -> pl.DataFrame:
        """Categories that are frequent enough, the most frequent first; none if they are hashed."""
        if name in self.fields.hash_size:
            for _ in values:  # lists are measured while they are read
                pass
            return _NOTHING
        least = self.fields.least(name)
        found = _counted(name, values, early=least == 1).filter(pl.col("count") >= least)
        _check_number(name, len(found))
        return found.sort(["count", "value"], descending=[True, False], nulls_last=True)

    def _categorical(self, name: str, kind: Kind, width: int, known: pl.DataFrame) -> None:
        """Give the field its rows: the first is for what is unknown."""
        start, size = self._next_row, self.fields.hash_size.get(name, len(known))
        ids = np.arange(len(known), dtype=np.int32) + (start + 1)
        named = known.with_columns(pl.lit(name).alias("field"), pl.Series("id", ids, pl.Int32))
        self.vocabulary.append(named.select(list(VOCABULARY)))
        self.done.append(Field(name, kind, start, size + 1, width))


def sampled(blocks: Iterable[Floats], number: int) -> Floats:
    """Of ``number`` numbers in blocks every n-th, at most ``MOST_SAMPLED``; finite ones alone."""
    step, before, kept = -(-number // MOST_SAMPLED), 0, [np.zeros(0)]
    for block in blocks:
        chosen = block[-before % step :: step]
        kept.append(chosen[np.isfinite(chosen)])
        before += len(block)
    return np.concatenate(kept)


def _counted(name: str, values: Iterable[pl.Series], *, early: bool) -> pl.DataFrame:
    """``value`` and ``count`` of what there is. Merged whenever there is as much as was known."""
    found, waiting, size = _NOTHING, [_NOTHING], 0

    def merged() -> pl.DataFrame:
        counts = pl.concat([found, *waiting]).group_by("value").agg(pl.col("count").sum())
        if early:
            _check_number(name, len(counts))
        return counts

    for block in values:
        waiting.append(
            block.to_frame("value").group_by("value").agg(pl.len().cast(pl.Int64).alias("count"))
        )
        size += len(waiting[-1])
        if size > len(found):
            found, waiting, size = merged(), [], 0
    return merged()


def _check_number(name: str, number: int) -> None:
    if number > MOST_CATEGORIES:
        raise UserError(
            f"The field '{name}' has {number:,} categories or more: vectors of 16 numbers, their "
            f"gradients and the optimizer's moments would take {number * _BYTES / 2**30:.0f} GiB. "
            f"Let them share rows by hashing, data.fields.hash_size={{{name}: 1000000}}, raise "
            "data.fields.min_count, or leave the field out."
        )


_NOTHING = pl.DataFrame(schema={"value": pl.String, "count": pl.Int64})
