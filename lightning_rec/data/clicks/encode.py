"""From a table of clicks to arrays: vocabularies and statistics are fitted on train alone."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.encoded import Encoded, Ints
from lightning_rec.data.clicks.fields import ClickSchema, Field, Fields
from lightning_rec.data.clicks.splits import Dealt
from lightning_rec.data.clicks.table import PARTS, ClickTable
from lightning_rec.errors import UserError, listed

MOST_CATEGORIES = 20_000_000  # of one field; more is hardly ever meant
_BYTES = 4 * 4 * 16  # weight, gradient and two moments of a vector of 16 floats


@dataclass
class _Fitted:
    """Fields fitted so far, and what they became."""

    fields: list[Field]
    vocabulary: list[pl.DataFrame]
    ids: list[NDArray[np.int32]]
    values: list[NDArray[np.float32]]
    statistics: list[tuple[str, float, float]]

    @property
    def next_row(self) -> int:
        return 1 + sum(field.size for field in self.fields)


def encode(table: ClickTable, fields: Fields, dealt: Dealt) -> Encoded:
    """Fit what there is to fit on the training rows, and encode all rows.

    Raises:
        UserError: if a label is not 0 or 1 or has one class alone, a number is none, a part has no
            rows, or a field has far too many categories.
    """
    name = table.info["name"]
    parts = {part: np.flatnonzero(dealt.part == place) for place, part in enumerate(PARTS)}
    for part in ("train", "test"):
        if not len(parts[part]):
            raise UserError(f"{name}: the protocol leaves no rows in {part}.")
    label = columns.label(table, fields)
    for part, rows in parts.items():
        columns.check_classes(f"{name}, {part}", label[rows])
    train = dealt.part == PARTS.index("train")
    fitted = _Fitted([], [], [], [], [])
    for column in fields.categorical:
        _categorical(columns.text(table, column), train, fields, fitted)
    for column in fields.multi_valued:
        _multi_valued(columns.lists(table, column, fields.separator), train, fields, fitted)
    for column in fields.numeric:
        _numeric(columns.numbers(table, column), train, fields, fitted)
    width, number = len(fitted.values), len(label)
    return Encoded(
        schema=ClickSchema(tuple(fitted.fields)),
        ids=np.column_stack(fitted.ids) if fitted.ids else np.zeros((number, 0), np.int32),
        values=np.column_stack(fitted.values) if width else np.zeros((number, 0), np.float32),
        label=label,
        weight=columns.weight(table, fields),
        group=columns.group(table, fields),
        **parts,
        vocabulary=pl.concat([_EMPTY_VOCABULARY, *fitted.vocabulary]),
        statistics=pl.DataFrame(fitted.statistics, schema=_STATISTICS, orient="row"),
        boundaries=dealt.boundaries,
        counts={"rows": number, **{f"{part} rows": len(rows) for part, rows in parts.items()}},
        notes=_notes(name, parts),
    )


def _categorical(
    column: pl.Series, train: NDArray[np.bool_], fields: Fields, fitted: _Fitted
) -> None:
    """One id per row."""
    if fields.missing == "unknown":
        counted = column.filter(pl.Series(train)).drop_nulls()
    else:
        counted = column.filter(pl.Series(train))
    size, known = _vocabulary(column.name, counted, fields.min_count, fitted)
    fitted.fields.append(Field(column.name, "categorical", fitted.next_row, size, 1))
    fitted.ids.append(_looked_up(column, known, fitted.fields[-1].start))


def _multi_valued(
    column: pl.Series, train: NDArray[np.bool_], fields: Fields, fitted: _Fitted
) -> None:
    """As many ids per row as the longest list of training has, at most ``max_values``."""
    cut = column.list.head(fields.max_values)
    lengths = cut.list.len().fill_null(0).to_numpy()
    width = max(1, int(lengths[train].max(initial=0)))
    lengths = np.minimum(lengths, width).astype(np.int64)
    values = cut.list.head(width).explode(empty_as_null=False, keep_nulls=False)
    row = np.repeat(np.arange(len(column)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    counted = values.filter(pl.Series(train[row]))
    size, known = _vocabulary(column.name, counted, fields.min_count, fitted)
    fitted.fields.append(Field(column.name, "multi_valued", fitted.next_row, size, width))
    ids = np.zeros((len(column), width), dtype=np.int32)
    ids[row, place] = _looked_up(values, known, fitted.fields[-1].start)
    fitted.ids.append(ids)


def _numeric(
    numbers: NDArray[np.float64], train: NDArray[np.bool_], fields: Fields, fitted: _Fitted
) -> None:
    """One scaled number per row; what is missing or infinite becomes the mean of train."""
    name = fields.numeric[len(fitted.values)]
    if fields.scale == "log":
        numbers = np.sign(numbers) * np.log1p(np.abs(numbers))
    there = np.isfinite(numbers)
    seen = numbers[train & there]
    mean = float(seen.mean()) if len(seen) else 0.0
    deviation = float(seen.std()) if len(seen) else 0.0
    fitted.statistics.append((name, mean, deviation))
    scaled = np.where(there, numbers, mean)
    if fields.scale != "none":
        scaled = (scaled - mean) / (deviation or 1.0)
    fitted.fields.append(Field(name, "numeric", fitted.next_row, 1, 0))
    fitted.values.append(scaled.astype(np.float32))


def _vocabulary(
    name: str, counted: pl.Series, min_count: int, fitted: _Fitted
) -> tuple[int, pl.DataFrame]:
    """Rows that the field owns, and its categories with their ids, the most frequent first."""
    found = counted.rename("value").to_frame().group_by("value").agg(pl.len().alias("count"))
    found = found.filter(pl.col("count") >= min_count)
    if len(found) > MOST_CATEGORIES:
        raise UserError(
            f"The field '{name}' has {len(found):,} categories: vectors of 16 numbers, their "
            f"gradients and the optimizer's moments would take {len(found) * _BYTES / 2**30:.0f} "
            "GiB. Raise data.fields.min_count, or leave the field out."
        )
    found = found.sort(["count", "value"], descending=[True, False], nulls_last=True)
    # The first row of the field is for what is unknown.
    ids = np.arange(len(found), dtype=np.int32) + (fitted.next_row + 1)
    known = found.with_columns(
        pl.lit(name).alias("field"), pl.Series("id", ids, pl.Int32), pl.col("count").cast(pl.Int64)
    ).select(_EMPTY_VOCABULARY.columns)
    fitted.vocabulary.append(known)
    return len(found) + 1, known


def _looked_up(column: pl.Series, known: pl.DataFrame, unknown: int) -> NDArray[np.int32]:
    """The id of each value, ``unknown`` where there is none: int32 [n]."""
    values = column.rename("value").to_frame()
    joined = values.join(
        known.select("value", "id"),
        on="value",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    ids: NDArray[np.int32] = joined["id"].fill_null(unknown).to_numpy()
    return ids


def _notes(name: str, parts: dict[str, Ints]) -> tuple[str, ...]:
    if len(parts["val"]):
        return ()
    rows = listed(f"{part}: {len(of):,}" for part, of in parts.items())
    return (
        f"{name} has no validation rows ({rows}): the last weights are kept; precision, recall, "
        "F1 and accuracy are at the threshold 0.5.",
    )


_EMPTY_VOCABULARY = pl.DataFrame(
    schema={"field": pl.String, "value": pl.String, "id": pl.Int32, "count": pl.Int64}
)
_STATISTICS = {"field": pl.String, "mean": pl.Float64, "deviation": pl.Float64}
