"""What the audit of clicks asks of one field: of each block of rows, then of all training rows."""

import unicodedata

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Field, Fields
from lightning_rec.data.clicks.fit import MOST_SAMPLED
from lightning_rec.data.core.audited import fail
from lightning_rec.data.ids import AROUND, MISSING
from lightning_rec.data.lists import said

_CLOSE = 1e-4  # of a scaled number, which is kept as float32
_HASHED = 50  # values of a block whose hash is worked out again, byte by byte


class CategoryCheck:
    """Each id stands for the value in the table; the vocabulary is that of the training rows."""

    def __init__(self, field: Field, fields: Fields, encoded: Encoded) -> None:
        self.field, self.fields = field, fields
        self.known = encoded.vocabulary.filter(pl.col("field") == field.name).sort("id")
        self.hashed = field.name in fields.hash_size
        told = encoded.statistics.filter(pl.col("field") == field.name)["edges"].to_list()
        self.edges = list(told[0] or []) if told else []
        self.seen = np.zeros(field.size, dtype=np.int64)  # ids of the training rows
        self.rare: list[pl.DataFrame] = []
        self.longest = 1
        self.learnt, self.sampled = len(encoded.train), 0
        self.numbers: list[NDArray[np.float64]] = []

    def block(
        self, start: int, column: pl.Series, ids: NDArray[np.int32], train: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Check some rows; returns which of them hold an unknown category, bool [n]."""
        name, first = self.field.name, self.field.start
        foreign = (ids != 0) & ((ids < first) | (ids >= first + self.field.size))
        fail(f"an id of '{name}' belongs to another field", foreign.any(axis=1), start)
        row, place, value = self._read(column, train)
        lies = np.zeros(len(ids), dtype=bool)
        filled = np.zeros(ids.shape, dtype=bool)
        filled[row, place] = True
        lies |= (filled != (ids != 0)).any(axis=1)
        flat = ids[row, place]
        lies[row[self._wrong(flat, value)]] = True
        fail(f"an id of '{name}' stands for another value", lies, start)
        learnt = train[row]
        self.seen += np.bincount(flat[learnt] - first, minlength=self.field.size)
        if self.hashed:
            return np.zeros(len(ids), dtype=bool)
        missed = value.filter(pl.Series(learnt & (flat == first)))
        if self.field.kind == "categorical" and self.fields.missing == "unknown":
            missed = missed.drop_nulls()
        if len(missed):
            self.rare.append(missed.to_frame("value").group_by("value").len())
        unknown: NDArray[np.bool_] = (ids == first).any(axis=1)
        return unknown

    def fault(self) -> str | None:
        """What is wrong with the vocabulary, now that all rows were seen; None if nothing is."""
        name, least = self.field.name, self.fields.least(self.field.name)
        ids = np.arange(len(self.known)) + self.field.start + 1
        counted = self.hashed or (
            np.array_equal(self.known["count"].to_numpy(), self.seen[1:])
            and np.array_equal(self.known["id"].to_numpy(), ids)
            and bool((self.known["count"] >= least).all())
        )
        if self.rare:
            counts = pl.concat(self.rare).group_by("value").agg(pl.col("len").sum())["len"]
            counted = counted and bool((counts < least).all())
        if not counted:
            return f"the vocabulary of '{name}' is not that of the training rows"
        if self.longest != self.field.width:
            return f"the lists of '{name}' are not as long as the longest of the training rows"
        if self.edges and not np.allclose(self.edges, self._quantiles(), rtol=1e-9, atol=1e-12):
            return f"the buckets of '{name}' are not those of the training rows"
        return None

    def _read(
        self, column: pl.Series, train: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], pl.Series]:
        """Row, place in it and value of all that has an id, read straight from the table."""
        if self.field.kind == "categorical":
            row = np.arange(len(column))
            return row, np.zeros_like(row), self._categories(column, train)
        values = column
        if not isinstance(column.dtype, pl.List):
            values = _split(column.cast(pl.String), self.fields.parted_by(self.field.name))
        rows = pl.DataFrame({"row": np.arange(len(column)), "value": values}).explode("value")
        rows = rows.with_columns(_as_ids(rows["value"].cast(pl.String)))
        rows = rows.drop_nulls("value").unique(maintain_order=True)
        rows = rows.with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64).over("row"))
        learnt = rows.filter(pl.Series(train[rows["row"].to_numpy()]))
        longest = int(learnt["place"].max() or 0) + 1  # type: ignore[arg-type]
        self.longest = max(self.longest, min(longest, self.fields.max_values))
        rows = rows.filter(pl.col("place") < self.field.width)
        return rows["row"].to_numpy(), rows["place"].to_numpy(), rows["value"]

    def _categories(self, column: pl.Series, train: NDArray[np.bool_]) -> pl.Series:
        rule = self.fields.buckets.get(self.field.name)
        if rule is not None:
            x = _numbers(column)
            self._sample(x[train])
            finite, frame = np.isfinite(x), pl.DataFrame({"x": np.where(np.isfinite(x), x, 0)})
            above = pl.sum_horizontal([pl.lit(0), *(pl.col("x") >= edge for edge in self.edges)])
            squared = pl.when(pl.col("x") > 2).then((pl.col("x").log() ** 2).floor())
            bucket = squared.otherwise(pl.col("x")) if rule == "log_square" else above
            codes = frame.select(bucket.cast(pl.Int64).cast(pl.String)).to_series()
            return codes.set(pl.Series(~finite), None)
        return _as_ids(column.cast(pl.String))

    def _sample(self, x: NDArray[np.float64]) -> None:
        if self.edges:
            every = -(-self.learnt // MOST_SAMPLED)
            rows = self.sampled + np.arange(len(x))
            self.numbers.append(x[(rows % every == 0) & np.isfinite(x)])
            self.sampled += len(x)

    def _wrong(self, ids: NDArray[np.int32], value: pl.Series) -> NDArray[np.bool_]:
        if self.hashed:
            return self._wrong_hash(ids, value)
        wrong = np.zeros(len(ids), dtype=bool)
        told = np.flatnonzero(ids > self.field.start)
        missed = np.flatnonzero(ids == self.field.start)
        meaning = self.known["value"].gather(ids[told] - self.field.start - 1)
        wrong[told] = ~meaning.eq_missing(value.gather(told)).to_numpy()
        if len(missed):
            known = self.known["value"].implode()
            wrong[missed] = value.gather(missed).is_in(known, nulls_equal=True).to_numpy()
        return wrong

    def _wrong_hash(self, ids: NDArray[np.int32], value: pl.Series) -> NDArray[np.bool_]:
        """One value has one id, and that of some values is what their bytes give."""
        pairs = pl.DataFrame({"value": value, "id": ids}).unique(maintain_order=True)
        expected = {text: self._hashed(text) for text in pairs["value"].head(_HASHED)}
        said = pairs.head(_HASHED)["id"].to_list()
        right = said == list(expected.values()) and pairs["value"].n_unique() == len(pairs)
        return np.full(len(ids), not right)

    def _hashed(self, text: str | None) -> int:
        if text is None:
            return self.field.start
        word = 0xCBF29CE484222325
        for byte in text.encode():
            word = (word ^ byte) * 0x100000001B3 % 2**64
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            word = (word ^ (word >> shift)) * factor % 2**64
        return self.field.start + 1 + (word ^ (word >> 31)) % (self.field.size - 1)

    def _quantiles(self) -> NDArray[np.float64]:
        number = self.fields.buckets[self.field.name]
        assert isinstance(number, int)
        seen = pl.Series(np.concatenate(self.numbers))
        shares = np.arange(1, number) / number
        return np.unique([seen.quantile(share, "linear") for share in shares])


class NumberCheck:
    """Each number is what the table has, scaled by the mean and deviation of the training rows."""

    def __init__(self, name: str, fields: Fields, encoded: Encoded) -> None:
        self.name, self.fields = name, fields
        told = encoded.statistics.row(by_predicate=pl.col("field") == name, named=True)
        self.mean, self.deviation = told["mean"], told["deviation"]
        self.count, self.sums = 0, np.zeros(2, dtype=np.longdouble)  # of x and x², less the mean

    def block(
        self, start: int, column: pl.Series, scaled: NDArray[np.float32], train: NDArray[np.bool_]
    ) -> None:
        """Check some rows."""
        x = _numbers(column)
        if self.fields.scale == "log":
            x = np.copysign(np.log1p(np.abs(x)), x)
        x = np.where(np.isfinite(x), x, np.nan)
        seen = x[train & ~np.isnan(x)].astype(np.longdouble) - self.mean
        self.count += len(seen)
        self.sums += (seen.sum(), (seen**2).sum())
        filled = np.where(np.isnan(x), self.mean, x)
        expected = filled
        if self.fields.scale != "none":
            expected = (filled - self.mean) / (self.deviation or 1.0)
        off = np.abs(scaled - expected) > _CLOSE * np.maximum(1.0, np.abs(expected))
        fail(f"a number of '{self.name}' is not what the table has", off, start)

    def fault(self) -> str | None:
        """What is wrong with the statistics, now that all rows were seen; None if nothing is."""
        off, spread = (float(each) / max(1, self.count) for each in self.sums)
        scale = 1e-9 * max(abs(self.mean), self.deviation, 1e-3)
        if abs(off) <= scale and abs(np.sqrt(max(0.0, spread)) - self.deviation) <= scale:
            return None
        return f"mean and deviation of '{self.name}' are not those of the training rows"


def _numbers(column: pl.Series) -> NDArray[np.float64]:
    if column.dtype.is_float() and column.dtype != pl.Float64:  # .7 is meant, not .69999999
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        column = (
            column.str.strip_chars(AROUND).str.to_lowercase().replace({"true": "1", "false": "0"})
        )
    found: NDArray[np.float64] = (
        column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    )
    return found


def _split(text: pl.Series, separator: str) -> pl.Series:
    """The values of each text, List[String]: parted, or in brackets, which Python reads."""
    bare = text.str.strip_chars(AROUND)
    brackets = (bare.str.starts_with("[") & bare.str.ends_with("]")).fill_null(value=False)
    parted = text.str.split(separator)
    if not brackets.any():
        return parted
    cells = bare.filter(brackets).unique()
    read = pl.Series([_literal(cell) for cell in cells.to_list()], dtype=pl.List(pl.String))
    place = bare.replace_strict(cells, pl.int_range(len(cells), eager=True), default=None)
    return read.gather(place).zip_with(brackets, parted)


def _literal(cell: str) -> list[str]:
    """The values of a cell in brackets, sign by sign."""
    inside, values = cell[1:-1].strip(AROUND), []
    if not any(_in_quotes(part.strip()) for part in inside.split(",")):
        sign = next((sign for sign in "|;," if sign in inside), None)
        return [value.strip() for value in inside.split(sign)]
    while inside := inside.lstrip(" \t\r\n,"):
        quote, end = inside[:2].lstrip("uUbB")[:1], inside.find(",") % (len(inside) + 1)
        if _in_quotes(inside):
            end = inside.index(quote) + 1
            while inside[end : end + 1] not in (quote, ""):
                end += 2 if inside[end] == "\\" else 1
            values.append(said(inside[: end + 1]))
            inside = inside[end + 1 :]
        else:
            blank = (at for at, sign in enumerate(inside[:end]) if sign.isspace())
            end = next((at for at in blank if inside[at + 1 :].lstrip()[:1] in ("'", '"')), end)
            values.append(inside[:end])
            inside = inside[end:]
    return values


def _in_quotes(text: str) -> bool:
    return text[:1] in ("'", '"') or (text[:1] in "uUbB" and text[1:2] in ("'", '"'))


def _as_ids(text: pl.Series) -> pl.Series:
    """The ids that text stands for, null for none: the distinct ones one by one."""
    known = text.unique()
    meant = [None if value is None else _as_id(value) for value in known.to_list()]
    if meant == known.to_list():
        return text
    return text.replace_strict(known, pl.Series(meant, dtype=pl.String), return_dtype=pl.String)


_BLANKS = {ord(sign): " " for sign in "\u00a0\u2007\u202f"}


def _as_id(text: str) -> str | None:
    text = unicodedata.normalize("NFC", text.strip(AROUND)).translate(_BLANKS)
    head, point, zeros = text.partition(".")
    digits = head.removeprefix("-")
    if point and not zeros.strip("0") and digits.isdecimal() and str(int(digits)) == digits:
        text = head
    return None if text in MISSING else text
