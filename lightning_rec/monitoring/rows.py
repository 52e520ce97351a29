"""Tables of clicks, watched: columns, scores, and whether probabilities are what comes of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy import stats

from lightning_rec.data.clicks import cells, columns
from lightning_rec.data.clicks.reading import with_points
from lightning_rec.data.clicks.table import TIME
from lightning_rec.data.ids import stripped
from lightning_rec.data.times import TimeForm, divisor, read_times
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError
from lightning_rec.monitoring.bins import UNKNOWN, Floats, distribution, to_table
from lightning_rec.monitoring.judging import Line, drifts
from lightning_rec.monitoring.observed import hours_of
from lightning_rec.monitoring.reference import HOURS, Reference, bins_of
from lightning_rec.monitoring.requests import Watching, windows

if TYPE_CHECKING:
    from lightning_rec.data.clicks.processor import FeatureProcessor
    from lightning_rec.predict.clicks import ClickPredictor

ROWS = 20_000  # of the test that are kept as distributions
SCORES = "scores"
CALIBRATION = 0.02  # expected error of calibration that is let pass
_BINS = 10
_DRAWS = 400


def observed_rows(rows: pl.DataFrame, processor: "FeatureProcessor") -> dict[str, pl.DataFrame]:
    """``unit`` and ``value`` of each feature; a category that training had not is ``unknown``."""
    fields, found = processor.fields, {}
    unit = units_of(rows, processor)
    known = {name: part["value"] for (name,), part in _vocabulary(processor).items()}
    for name in fields.features:
        if name not in rows.columns:
            values = pl.Series([None] * len(rows), dtype=pl.String)
        elif name in fields.numeric:
            values = pl.Series(columns.numbers(rows[name])).fill_nan(None)
        elif name in fields.multi_valued:
            values = columns.lists(rows[name], fields.parted_by(name))
        else:
            values = columns.text(rows[name])
        frame = pl.DataFrame({"unit": unit, "value": values})
        if name in fields.multi_valued:
            frame = frame.explode("value")
        if name not in fields.numeric and name in known:
            is_known = pl.col("value").is_in(known[name].drop_nulls().implode())
            value = pl.when(is_known | pl.col("value").is_null()).then("value")
            frame = frame.with_columns(value=value.otherwise(pl.lit(UNKNOWN)))
        found[f"column {name}"] = frame
    if SCORES in rows.columns:
        found[SCORES] = pl.DataFrame({"unit": unit, "value": rows[SCORES]})
    if fields.time is not None and fields.time in rows.columns:
        hours = hours_of(pl.DataFrame({"unit": unit, "time": times(rows[fields.time])}))
        if hours["value"].n_unique() > 1:
            found[HOURS] = hours.drop_nulls()
    return found


def units_of(rows: pl.DataFrame, processor: "FeatureProcessor") -> pl.Series:
    """Whose each row is, String ``unit``: its group, or itself where that is empty."""
    own = ("#" + pl.int_range(pl.len()).cast(pl.String)).alias("unit")
    name = processor.fields.group
    if name not in rows.columns:
        return rows.select(own).to_series()
    group = columns.text(rows[name]).alias("unit")
    return rows.select(pl.coalesce(group, own)).to_series()


def times(values: pl.Series) -> pl.Series:
    """As Datetime, UTC: numbers of any unit since 1970, or dates, read as those of a log.

    Raises UserError for what is no time, or where the unit cannot be told.
    """
    text = stripped(pl.col(values.name).cast(pl.String))
    filled = values.to_frame().select(text.filter(text != "").first()).to_series()
    first = filled[0] if values.dtype == pl.String else None
    reading = read_times(values.name, values.dtype, first, TimeForm(), mixed=True)
    found = values.to_frame().select(reading.value.cast(pl.Float64)).to_series()
    is_text = values.to_frame().select((text != "").fill_null(value=False)).to_series()
    _check_read(values, is_text & found.is_null(), "time")
    per_second: float | None = reading.per_second
    if per_second is None and found.count():
        numbers = found.drop_nulls().to_numpy()
        try:
            per_second = divisor(float(numbers.min()), float(numbers.max()), "auto")
        except ValueError as error:
            raise UserError(f"Column '{values.name}' {error}.") from error
    return (found / (per_second or 1) * 1e6).cast(pl.Int64).cast(pl.Datetime("us"))


def check_numbers(rows: pl.DataFrame, predictor: "ClickPredictor") -> None:
    """Raise UserError where a column of numbers holds something else."""
    fields = predictor.processor.fields
    pointed = with_points(rows.lazy(), fields, predictor.decimal).collect()
    for name in fields.numeric:
        if name in pointed.columns:
            _check_read(rows[name], pl.Series(columns.words(pointed[name])), "number")


def _check_read(values: pl.Series, odd: pl.Series, what: str) -> None:
    """Raise UserError where a value that is there could not be read."""
    if odd.any():
        raise UserError(
            f"Column '{values.name}' holds {str(values.filter(odd)[0])!r} in {odd.sum():,} of "
            f"{len(values):,} rows, which is no {what}: mend it, or leave the column out where the "
            "model does not read it."
        )


def _vocabulary(processor: "FeatureProcessor") -> dict[tuple[object, ...], pl.DataFrame]:
    kept = [name for name in processor.fields.features if name not in processor.fields.hash_size]
    known = processor.vocabulary.filter(pl.col("field").is_in(kept))
    return known.partition_by("field", as_dict=True)


def kept_rows(
    table: pl.LazyFrame, test: Ints, scores: Floats | None, processor: "FeatureProcessor"
) -> pl.DataFrame:
    """The distributions of a part of the test's rows, as a table; ``test``: their numbers."""
    chosen = np.unique(np.linspace(0, len(test) - 1, min(ROWS, len(test))).astype(np.int64))
    numbers = pl.Series("_row", np.asarray(test)[chosen].astype(np.uint32))
    rows = table.with_row_index("_row").filter(pl.col("_row").is_in(numbers.implode())).collect()
    if scores is not None:
        of = pl.DataFrame({"_row": numbers, SCORES: np.asarray(scores)[chosen]})
        rows = rows.join(of, "_row", "left", maintain_order="left")
    time = processor.fields.time
    if TIME in rows.columns and time is not None and time not in processor.fields.features:
        rows = rows.with_columns(pl.col(TIME).alias(time))  # read as the log's settings say
    found = observed_rows(rows.drop("_row"), processor)
    known = {name: distribution(each, bins_of(name)) for name, each in found.items() if len(each)}
    return to_table(known)


def watched_rows(
    rows: pl.DataFrame, reference: Reference, processor: "FeatureProcessor", asked: Watching
) -> Iterable[Line]:
    """The lines of each window; ``rows``: with ``scores``, and a label where it is known."""
    fields = processor.fields
    if fields.time is not None and fields.time in rows.columns:
        rows = rows.with_columns(time=times(rows[fields.time])).sort("time", maintain_order=True)
    elif asked.every is not None:
        raise UserError("every= parts by data.fields.time, which the model or the table has not.")
    for window, part in windows(rows, asked):
        found = observed_rows(part, processor)
        if asked.every is not None and asked.every.endswith(("h", "m", "s")):
            found.pop(HOURS, None)
        yield from drifts(window, found, reference.known, asked.level)
        yield from _calibration(window, part, processor, asked)


def _calibration(
    window: str, part: pl.DataFrame, processor: "FeatureProcessor", asked: Watching
) -> Iterable[Line]:
    fields = processor.fields
    goal, *more = fields.targets.values()
    if more or goal.column is None or not {goal.column, SCORES} <= set(part.columns):
        return
    given, least = part[goal.column], goal.positive_from
    label = pl.Series(columns.numbers(given, cells.labels if least is None else cells.numbers))
    label = label.fill_nan(None)
    _check_read(given, label.is_null() & columns.text(given).is_not_null(), "label")
    if least is not None:
        label = (label >= least).cast(pl.Float64)
    is_there = (label.is_not_null() & part[SCORES].is_not_null()).to_numpy()
    unit = units_of(part, processor).rank("dense").to_numpy().astype(np.int64)[is_there]
    values = label.to_numpy()[is_there], part[SCORES].to_numpy()[is_there]
    if len(unit):
        yield calibration(window, unit, *values, asked.level)


def calibration(window: str, unit: np.ndarray, label: Floats, score: Floats, level: float) -> Line:
    """ECE in ten bins of as many rows, its interval, and p that probabilities are right.

    Args:
        window: of the line.
        unit: int64 [n], of each row; rows of one are alike.
        label: 0 or 1.
        score: the probability that was predicted.
        level: of the interval.

    ECE is the mean over bins, by rows, of |observed - predicted| (Guo et al., 2017). p: the squared
    sum of each bin over its variance between units, by chi-square (Hosmer and Lemeshow).
    """
    # Equal scores are in one bin: else the order of the rows would tell them apart.
    ranks = stats.rankdata(score) - 1
    place = (ranks * _BINS / len(score) + 1e-9).astype(np.int64)
    unit = np.unique(unit, return_inverse=True)[1]
    units = int(unit.max()) + 1
    sums = np.zeros((units, _BINS))
    np.add.at(sums, (unit, place), label - score)
    rows = np.bincount(unit, minlength=units).astype(np.float64)
    # Between units, or, where that is less, as if rows were independent: units may be few.
    by_chance = np.bincount(place, score * (1 - score), minlength=_BINS)
    total, variance = sums.sum(0), np.maximum((sums**2).sum(0), by_chance)
    value = float(np.abs(total).sum() / rows.sum())
    used = variance > 0
    p = float(stats.chi2.sf((total[used] ** 2 / variance[used]).sum(), int(used.sum())))
    chance = np.random.default_rng(0)
    drawn = np.zeros(_DRAWS)
    for draw in range(_DRAWS):
        weight = chance.poisson(1.0, units).astype(np.float64)
        drawn[draw] = np.abs(weight @ sums).sum() / max(1.0, weight @ rows)
    low, high = (2 * value - np.quantile(drawn, [(1 + level) / 2, (1 - level) / 2])).clip(0)
    value = max(0.0, 2 * value - float(drawn.mean()))
    detail = f"predicted {score.mean():.1%}, observed {label.mean():.1%}"
    return Line(
        window, "calibration", "share", value, float(low), float(high), CALIBRATION, None, p, None,
        units, detail=detail,
    )  # fmt: skip
