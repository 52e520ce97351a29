"""What the audit of clicks asks of one field: of each block of rows, then of all training rows."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.fit import sampled
from lightning_rec.data.clicks.processor import FeatureProcessor, number
from lightning_rec.data.clicks.schema import Field
from lightning_rec.data.core.audited import fail
from lightning_rec.data.types import Floats, Mask

_CLOSE = 1e-4  # of a scaled number, which is kept as float32


class CategoryCheck:
    """Each id stands for the value in the table; the vocabulary is that of the training rows."""

    def __init__(self, field: Field, processor: FeatureProcessor) -> None:
        self.field, self.processor = field, processor
        self.hashed = field.name in processor.fields.hash_size
        self.seen = np.zeros(field.size, dtype=np.int64)  # ids of the training rows
        self.rare: list[pl.DataFrame] = []
        self.longest = 1

    def block(self, start: int, column: pl.Series, ids: NDArray[np.int32], train: Mask) -> Mask:
        """Check some rows; returns which of them hold an unknown category, bool [n]."""
        name, first, fields = self.field.name, self.field.start, self.processor.fields
        foreign = (ids != 0) & ((ids < first) | (ids >= first + self.field.size))
        fail(f"an id of '{name}' belongs to another field", foreign.any(axis=1), start)
        row, place, value = self.processor.read(self.field, column, fields.max_values)
        self.longest = max(self.longest, int(place[train[row]].max(initial=0)) + 1)
        fits = place < self.field.width
        row, place, value = row[fits], place[fits], value.filter(pl.Series(fits))
        expected = np.zeros_like(ids)
        expected[row, place] = self.processor.looked_up(self.field, value)
        lies = (ids != expected).any(axis=1)
        fail(f"an id of '{name}' stands for another value", lies, start)
        flat, learnt = ids[row, place], train[row]
        self.seen += np.bincount(flat[learnt] - first, minlength=self.field.size)
        if self.hashed:
            return np.zeros(len(ids), dtype=bool)
        missed = value.filter(pl.Series(learnt & (flat == first)))
        if self.field.kind == "categorical" and fields.missing == "unknown":
            missed = missed.drop_nulls()
        if len(missed):
            self.rare.append(missed.to_frame("value").group_by("value").len())
        return np.asarray((ids == first).any(axis=1))

    def fault(self, at: Evidence) -> str | None:
        """What is wrong with the vocabulary, now that all rows were seen; None if nothing is."""
        name, least = self.field.name, at.fields.least(self.field.name)
        known = at.encoded.vocabulary.filter(pl.col("field") == name).sort("id")
        ids = np.arange(len(known)) + self.field.start + 1
        counted = self.hashed or (
            np.array_equal(known["count"].to_numpy(), self.seen[1:])
            and np.array_equal(known["id"].to_numpy(), ids)
            and bool((known["count"] >= least).all())
        )
        if self.rare:
            counts = pl.concat(self.rare).group_by("value").agg(pl.col("len").sum())["len"]
            counted = counted and bool((counts < least).all())
        if not counted:
            return f"the vocabulary of '{name}' is not that of the training rows"
        if self.longest != self.field.width:
            return f"the lists of '{name}' are not as long as the longest of the training rows"
        edges = [] if at.encoded.given else self.processor.edges(name)
        if edges and not np.allclose(edges, self._quantiles(at), rtol=1e-9, atol=1e-12):
            return f"the buckets of '{name}' are not those of the training rows"
        return None

    def _quantiles(self, at: Evidence) -> Floats:
        number, train = at.fields.buckets[self.field.name], at.part == 0
        assert isinstance(number, int)
        blocks = (
            columns.numbers(frame[self.field.name])[train[start : start + len(frame)]]
            for start, frame in at.table.blocks(self.field.name)
        )
        seen = pl.Series(sampled(blocks, int(train.sum())))
        shares = np.arange(1, number) / number
        return np.unique([seen.quantile(share, "linear") for share in shares])


class NumberCheck:
    """Each number is what the table has, scaled by the mean and deviation of the training rows."""

    def __init__(self, name: str, processor: FeatureProcessor) -> None:
        self.name, self.fields = name, processor.fields
        told = processor.statistics.row(by_predicate=pl.col("field") == name, named=True)
        self.mean, self.deviation = told["mean"], told["deviation"]
        self.count, self.sums = 0, np.zeros(2, dtype=np.longdouble)  # of x and x², less the mean

    def block(
        self, start: int, column: pl.Series, scaled: NDArray[np.float32], train: Mask
    ) -> None:
        """Check some rows."""
        x = number(column, self.fields)
        seen = x[train & ~np.isnan(x)].astype(np.longdouble) - self.mean
        self.count += len(seen)
        self.sums += (seen.sum(), (seen**2).sum())
        expected = np.where(np.isnan(x), self.mean, x)
        if self.fields.scale != "none":
            expected = (expected - self.mean) / (self.deviation or 1.0)
        off = np.abs(scaled - expected) > _CLOSE * np.maximum(1.0, np.abs(expected))
        fail(f"a number of '{self.name}' is not what the table has", off, start)

    def fault(self, given: bool) -> str | None:
        """What is wrong with the statistics, now that all rows were seen; None if nothing is, or
        if they are ``given``, those of an earlier run.
        """
        if given:
            return None
        off, spread = (float(each) / max(1, self.count) for each in self.sums)
        scale = 1e-9 * max(abs(self.mean), self.deviation, 1e-3)
        if abs(off) <= scale and abs(np.sqrt(max(0.0, spread)) - self.deviation) <= scale:
            return None
        return f"mean and deviation of '{self.name}' are not those of the training rows"
