"""Numbers that were counted over held-out rows: an item's click rate, taken with the test's clicks.

Such a number says the same in each row of its category (of the item, say). With ``n`` and ``m``
rows of a category in training and held out, ``c`` and ``d`` clicks among them, a rate over all
rows is ``x = (c + d) / (n + m)``, so that ``d = x n + x m - c``: what is held out follows from the
number and from what training has. A number that was known beforehand may be as good as one likes:
it leaves the noise of drawing ``m`` clicks and non-clicks, ``m p (1 - p)``, which nothing but the
clicks themselves can explain. So ``d`` is fitted by least squares to ``1, n, m, c`` and then to
``x, x n, x m`` as well, which covers rates, smoothed ones, counts and multiples of them, over all
rows or the held-out ones alone; if less than a tenth of the noise is left, it is told. Likewise
``m`` to ``1, n`` and ``x``: a number of rows. For logarithms and log-odds, ``exp(x)`` and its share
``1 / (1 + exp(-x))`` are tried in the place of ``x``.

Where the category is no field, or one of several fields together, the rows with one value of the
number stand for it: sums over categories with equal numbers obey the same equation. Categories that
are written as numbers are looked at as well.

A rate that leaves its own row out differs between a click and a non-click of one category: it is
told where the number, less its mean in the category, ranks the held-out rows by itself.
"""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import polars as pl

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.audit_effects import BELIEVABLE, area
from lightning_rec.data.clicks.evidence import Evidence
from lightning_rec.data.clicks.processor import slices
from lightning_rec.data.clicks.schema import Field
from lightning_rec.data.core.audited import Finding
from lightning_rec.data.types import Floats, Ints

_LEFT = 0.1  # share of the noise, below which too little is left
_LEAST = 20  # categories with held-out rows, or rows of a class, fewer of which tell nothing
_FEW = 5  # values of a category that is taken for a number
_SAME = 0.001  # of a number's variance within categories: it is one of the category
_ALMOST = 0.5  # the same for a number that leaves its own row out
_SAMPLE = 1 << 20  # held-out rows that are ranked, and values that a number may have
_REPEATED = 3  # rows for each value of a number, fewer of which stand for no category
_FLAT = 30.0  # a number beyond this is no logarithm


class _Counts(NamedTuple):
    """Of C categories: rows and clicks by part, [C, 3]; rows, sum and squares of the number."""

    rows: Floats
    clicks: Floats
    number: Floats
    total: Floats
    squares: Floats

    @property
    def mean(self) -> Floats:
        """Of the number in each category; 0 where there is none."""
        return self.total / np.maximum(1, self.number)

    @property
    def within(self) -> float:
        """Which share of the number's variance lies within categories; 1 where that is unknown."""
        free = self.number.sum() - (self.number > 0).sum()
        inside = self.squares.sum() - (self.total * self.mean).sum()
        whole = self.squares.sum() - self.total.sum() ** 2 / max(1.0, self.number.sum())
        if free < _LEAST or whole <= 0:
            return 1.0
        return float(inside / free / (whole / self.number.sum()))


def told_of_counts(at: Evidence) -> list[Finding]:
    """Each number that was counted over rows that are held out, once."""
    fields, schema = at.fields, at.encoded.schema
    categories = [each for each in schema.of("categorical") if each.name not in fields.numeric]
    told: dict[str, Finding] = {}
    for number in (*fields.numeric, *_written_as_numbers(at)):
        others = [(each, None) for each in categories if each.name != number]
        for both, goal in product([*others, *_own(at, number)], range(len(schema.goals))):
            category, values = both
            if number in told or not _Pair(at, number, category, values, goal).is_counted():
                continue
            of = "value of it" if category.name == number else f"'{category.name}'"
            kind = "numeric" if number in fields.numeric else "categorical"
            told[number] = at.finding(
                number,
                f"the number '{number}' follows from the held-out rows of each {of}: with what "
                "training has it gives away their clicks or how many they are, as a rate or a "
                "count over all rows does. Count it over the rows before the split alone, or take "
                f"'{number}' out of data.fields.{kind}.",
            )
    return list(told.values())


def _written_as_numbers(at: Evidence) -> Iterator[str]:
    """The categories that are numbers, but for who and what the row is about."""
    fields, known = at.fields, at.encoded.vocabulary.drop_nulls("value")
    for field in at.encoded.schema.of("categorical"):
        if field.name in (*fields.numeric, fields.item, fields.group):
            continue
        values = known.filter(pl.col("field") == field.name)["value"]
        if len(values) >= _FEW and not values.cast(pl.Float64, strict=False).has_nulls():
            yield field.name


def _own(at: Evidence, number: str) -> Iterator[tuple[Field, Floats]]:
    """The number as a field of categories, and its values, sorted, if they are few for its rows."""
    values = np.zeros(0)
    most = min(_SAMPLE, at.table.info["rows"] // _REPEATED)
    for _, frame in at.table.blocks(number):
        x = columns.numbers(frame[number])
        values = np.union1d(values, x[np.isfinite(x)])
        if len(values) > most:
            return
    yield Field(number, "categorical", 0, len(values) + 1, 1), values


class _Pair(NamedTuple):
    """A number, a category that it may have been counted for, and a goal."""

    at: Evidence
    number: str
    category: Field
    values: Floats | None  # of the number, where its own are the categories
    goal: int

    def is_counted(self) -> bool:
        """Whether the number gives held-out rows away."""
        if self.counts(first=True).within > _ALMOST:
            return False
        counts = self.counts()
        if counts.within <= _SAME and any(map(_knows, _held(counts))):
            return True
        return 0 < counts.within <= _ALMOST and self.centred(counts) >= BELIEVABLE

    def blocks(self) -> Iterator[tuple[slice, Ints, Floats]]:
        """Rows, categories (0 for what training has not) and numbers, block by block."""
        encoded, values, first = self.at.encoded, self.values, self.category.start
        for start, frame in self.at.table.blocks(self.number):
            here = slice(start, start + len(frame))
            x = columns.numbers(frame[self.number])
            if values is None:
                column = slices(encoded.schema)[self.category.name].start
                yield here, np.asarray(encoded.ids[here, column], np.int64) - first, x
            else:
                yield here, np.where(np.isfinite(x), np.searchsorted(values, x) + 1, 0), x

    def counts(self, *, first: bool = False) -> _Counts:
        """What is counted of all rows of training and those held out, or of the first block."""
        size = self.category.size
        rows, clicks = np.zeros((2, size * 3))
        moments = np.zeros((3, size))
        for here, category, x in self.blocks():
            label, part = self.at.labels(here)[:, self.goal], self.at.part[here]
            used = (category > 0) & (part >= 0)
            cell = category[used] * 3 + part[used]
            rows += np.bincount(cell, minlength=size * 3)
            clicks += np.bincount(cell, weights=label[used], minlength=size * 3)
            finite = used & np.isfinite(x)
            for power in range(3):
                weights = x[finite] ** power
                moments[power] += np.bincount(category[finite], weights, minlength=size)
            if first:
                break
        return _Counts(rows.reshape(-1, 3), clicks.reshape(-1, 3), *moments)

    def centred(self, counts: _Counts) -> float:
        """AUC over held-out rows of the number less its mean in the category, either way round."""
        clicks, rows = counts.clicks.sum(axis=1), counts.rows.sum(axis=1)
        mixed = (clicks > 0) & (clicks < rows)
        scores, labels = [np.zeros(0)], [np.zeros(0, dtype=bool)]
        for here, category, x in self.blocks():
            used = (self.at.part[here] > 0) & mixed[np.maximum(category, 0)] & np.isfinite(x)
            label = self.at.labels(here)[:, self.goal]
            scores.append((x - counts.mean[np.maximum(category, 0)])[used])
            labels.append(label[used] == 1)
            if sum(map(len, scores)) >= _SAMPLE:
                break
        clicked = np.concatenate(labels)
        if min(clicked.sum(), len(clicked) - clicked.sum()) < _LEAST:
            return 0.5
        found = area(np.concatenate(scores), clicked)
        return max(found, 1 - found)


def _held(counts: _Counts) -> Iterator[list[Floats]]:
    """Of each category rows n and clicks c that training has, m and d in validation, test, or both,
    and its number x.
    """
    for held in ([1, 2], [1], [2]):
        n, c = counts.rows[:, 0], counts.clicks[:, 0]
        m, d = counts.rows[:, held].sum(axis=1), counts.clicks[:, held].sum(axis=1)
        chosen = (m > 0) & (n + m >= 2) & (counts.number > 0)
        yield [each[chosen] for each in (n, c, m, d, counts.mean)]


def _knows(held: list[Floats]) -> bool:
    """Whether the number leaves less of the noise of what is held out than a draw leaves."""
    n, c, m, d, x = held
    if len(m) < _LEAST:
        return False
    one, total = np.ones_like(x), n + m
    rate, share = (c + d) / total, m.sum() / total.sum()
    clicks = rate * (1 - rate) * total / (total - 1) * m  # unbiased, whatever the rates are
    rows = share * (1 - share) * total
    return any(
        _leaves(d, (one, n, m, c), (y, y * n, y * m), clicks, m)
        or _leaves(m, (one, n), (y,), rows, total)
        for y in _undone(x)
    )


def _undone(x: Floats) -> Iterator[Floats]:
    """The number, and what it is the logarithm or the log-odds of, if it may be."""
    yield x
    if np.abs(x).max() <= _FLAT:
        yield np.exp(x)
        yield 1 / (1 + np.exp(-x))


def _leaves(
    held: Floats, known: tuple[Floats, ...], more: tuple[Floats, ...], noise: Floats, scale: Floats
) -> bool:
    """Whether ``more`` explains the noise that ``known`` leaves in ``held``."""
    weight = 1 / np.sqrt(scale)
    floor = float((noise / scale).mean())
    if floor * len(held) < _LEAST / 5:
        return False
    before = _residue(held * weight, np.stack(known, axis=1) * weight[:, None])
    after = _residue(held * weight, np.stack(known + more, axis=1) * weight[:, None])
    return before > floor / 2 and after < _LEFT * floor


def _residue(target: Floats, given: Floats) -> float:
    given = given / np.maximum(np.abs(given).max(axis=0), 1e-300)
    fitted = given @ np.linalg.lstsq(given, target, rcond=None)[0]
    return float(((target - fitted) ** 2).sum() / (len(target) - given.shape[1]))
