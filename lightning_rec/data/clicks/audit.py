"""The leak audit of clicks: arrays against the table they came from, by other means than made them.

Vocabularies, counts and statistics must be those of the training rows alone, each id must stand for
the value in the table, and no row may be in two parts.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.audit import LeakError
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Field, Fields
from lightning_rec.data.clicks.splits import times
from lightning_rec.data.clicks.table import PARTS, ClickTable

_CLOSE = 1e-4  # of a scaled number, which is kept as float32


def audit_clicks(table: ClickTable, fields: Fields, encoded: Encoded) -> dict[str, Any]:
    """Check that nothing a model learns from, or reads, lies in what it is tested on.

    Runs before every training and evaluation. Returns what was counted, for the provenance card:
    how many of the rows of each part were trained on, clicked, or hold a category that training
    has not. Raises LeakError when a check fails.
    """
    _check_parts(encoded)
    if encoded.boundaries is not None:
        _check_boundaries(times(table, fields), encoded)
    column = 0
    unknown = np.zeros(len(encoded.label), dtype=bool)
    for field in (*encoded.schema.of("categorical"), *encoded.schema.of("multi_valued")):
        ids = np.asarray(encoded.ids[:, column : column + field.width])
        _check_categories(_values(table, field, fields), ids, field, fields, encoded)
        unknown |= (ids == field.start).any(axis=1)
        column += field.width
    for place, field in enumerate(encoded.schema.of("numeric")):
        _check_numbers(table, fields, field, np.asarray(encoded.values[:, place]), encoded)
    facts: dict[str, Any] = {}
    for part in PARTS:
        rows = encoded.part(part)
        if len(rows):
            facts[f"{part} rate"] = round(float(encoded.label[rows].mean()), 4)
            facts[f"{part} rows with an unknown category"] = int(unknown[rows].sum())
    return facts


def _fail(check: str, culprits: NDArray[np.bool_]) -> None:
    if culprits.any():
        raise LeakError(
            f"leak audit: {check} ({int(culprits.sum()):,} times, first at row "
            f"{int(np.flatnonzero(culprits)[0])} of the prepared table). This is a bug: please "
            "report it."
        )


def _check_parts(encoded: Encoded) -> None:
    times_used = np.zeros(len(encoded.label), dtype=np.int64)
    for part in PARTS:
        np.add.at(times_used, np.asarray(encoded.part(part)), 1)
    _fail("a row is in two parts, or twice in one", times_used > 1)


def _check_boundaries(time: NDArray[np.float64], encoded: Encoded) -> None:
    assert encoded.boundaries is not None
    edges = (-np.inf, *encoded.boundaries, np.inf)
    for place, part in enumerate(PARTS):
        inside = np.ones(len(time), dtype=bool)
        rows = np.asarray(encoded.part(part))
        inside[rows] = (time[rows] >= edges[place]) & (time[rows] < edges[place + 1])
        _fail(f"a row of {part} lies outside its window of time", ~inside)


def _values(table: ClickTable, field: Field, fields: Fields) -> pl.DataFrame:
    """The values of a field as text, ``row`` and ``value``: read straight from the table."""
    column = pl.col(field.name)
    dtype = table.rows.collect_schema()[field.name]
    if field.kind == "multi_valued" and not isinstance(dtype, pl.List):
        column = column.cast(pl.String).str.split(fields.separator)
    rows = table.rows.select(column.alias("value")).with_row_index("row")
    if field.kind == "multi_valued":
        rows = rows.explode("value")
    if dtype.is_float():
        rows = rows.with_columns(pl.col("value").cast(pl.String).str.replace(r"\.0$", ""))
        rows = rows.with_columns(pl.col("value").replace("NaN", None))
    trimmed = pl.col("value").cast(pl.String).str.strip_chars()
    raw = pl.col("value").cast(pl.String) if field.kind == "categorical" else trimmed
    read = rows.select("row", value=pl.when(trimmed != "").then(raw)).collect()
    return read.unique() if field.kind == "multi_valued" else read


def _check_categories(
    values: pl.DataFrame,
    ids: NDArray[np.int32],
    field: Field,
    fields: Fields,
    encoded: Encoded,
) -> None:
    known = encoded.vocabulary.filter(pl.col("field") == field.name)
    in_train = np.zeros(len(ids), dtype=bool)
    in_train[np.asarray(encoded.train)] = True
    seen = values.filter(pl.Series(in_train[values["row"].to_numpy()]))
    if field.kind == "multi_valued" or fields.missing == "unknown":
        seen = seen.drop_nulls("value")
    if field.kind == "categorical":
        counts = dict(seen["value"].value_counts().iter_rows())
        wanted = {value: count for value, count in counts.items() if count >= fields.min_count}
        if wanted != dict(known.select("value", "count").iter_rows()):
            raise LeakError(
                f"leak audit: the vocabulary of '{field.name}' is not that of the training rows."
            )
    elif set(known["value"]) - set(seen["value"]):
        raise LeakError(
            f"leak audit: the vocabulary of '{field.name}' has values that no training row has."
        )
    _check_ids(values, ids, field, known)


def _check_ids(
    values: pl.DataFrame, ids: NDArray[np.int32], field: Field, known: pl.DataFrame
) -> None:
    """Each id in a row must stand for a value of that row; what is known is not called unknown."""
    wrong = (ids != 0) & ((ids < field.start) | (ids >= field.start + field.size))
    _fail(f"an id of '{field.name}' belongs to another field", wrong.any(axis=1))
    row, place = np.nonzero(ids > field.start)
    meaning = known.sort("id")["value"]
    told = meaning.gather(ids[row, place] - field.start - 1)
    if field.kind == "categorical":
        value = values.sort("row")["value"]
        lies = np.zeros(len(ids), dtype=bool)
        lies[row] = ~told.eq_missing(value.gather(row)).to_numpy()
        missed = np.flatnonzero(ids[:, 0] <= field.start)
        lies[missed] = value.gather(missed).is_in(known["value"].implode(), nulls_equal=True)
    else:
        said = pl.DataFrame({"row": row, "value": told}).cast({"row": values.schema["row"]})
        lies = np.zeros(len(ids), dtype=bool)
        lies[said.join(values, on=["row", "value"], how="anti")["row"].to_numpy()] = True
    _fail(f"an id of '{field.name}' stands for another value", lies)


def _check_numbers(
    table: ClickTable, fields: Fields, field: Field, scaled: NDArray[np.float32], encoded: Encoded
) -> None:
    raw = table.rows.select(pl.col(field.name).cast(pl.Float64, strict=False)).collect()
    numbers = raw.to_series().fill_null(float("nan")).to_numpy()
    if fields.scale == "log":
        numbers = np.copysign(np.log1p(np.abs(numbers)), numbers)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    seen = numbers[np.asarray(encoded.train)]
    mean = float(np.nanmean(seen)) if np.isfinite(seen).any() else 0.0
    deviation = float(np.nanstd(seen)) if np.isfinite(seen).any() else 0.0
    told = encoded.statistics.row(by_predicate=pl.col("field") == field.name)
    if not np.allclose(told[1:], (mean, deviation), rtol=1e-9, atol=1e-12):
        raise LeakError(
            f"leak audit: mean and deviation of '{field.name}' are not those of the training rows."
        )
    there = np.where(np.isnan(numbers), mean, numbers)
    wanted = there if fields.scale == "none" else (there - mean) / (deviation or 1.0)
    off = np.abs(scaled - wanted) > _CLOSE * np.maximum(1.0, np.abs(wanted))
    _fail(f"a number of '{field.name}' is not what the table has", off)
