"""What a user's table of clicks holds, as its fields are declared, whatever file it came from."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from lightning_rec.data.clicks import cells
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import TIME
from lightning_rec.data.dialect import Decimal, Invalid
from lightning_rec.data.events import ROW, scanned, time_reading
from lightning_rec.data.ids import ids, stripped
from lightning_rec.data.lists import unreadable
from lightning_rec.data.numbers import UNCLEAR
from lightning_rec.data.tabular import Table
from lightning_rec.data.times import Reading, TimeForm, divisor
from lightning_rec.errors import UserError


def read_rows(
    table: Table, rows: pl.LazyFrame, fields: Fields, invalid: Invalid
) -> tuple[pl.LazyFrame, dict[str, int]]:
    """Read a file through once, and leave out rows with a faulty label, time, weight, number or
    list under ``invalid="drop"``; ``error`` leaves all but lists to encoding. Returns the rows, and
    how many were left out: ``rows``, and by column. Raises UserError if a text is broken or all
    rows are faulty.
    """
    drop = invalid == "drop"
    numbered, schema = rows.with_row_index(ROW), rows.collect_schema()
    many = [name for name in (*fields.multi_valued, fields.history) if name]
    cut = [
        unreadable(pl.col(name), parted=True).fill_null(value=False)
        for name in many
        if schema[name] == pl.String
    ]
    faults = {"unreadable lists": pl.any_horizontal(pl.lit(value=False), *cut)}
    faults |= dict(_faults(schema, fields)) if drop else {}
    blank = pl.all_horizontal(pl.col(name).is_null() for name in schema) & table.is_text
    # A column may be called as a fact is.
    facts = scanned(table, numbered, blank, {f"fault {name}": bad for name, bad in faults.items()})
    first = facts["fault unreadable lists_row"]
    if first is not None and not drop:
        raise UserError(
            f"{table.where(first)}: a list is cut off, or in a form that is not read. Write it "
            "whole, as [5, 7], or its values with data.fields.separator between them."
        )
    if table.is_text:
        numbered = numbered.filter(pl.col(ROW) <= facts["last"])
    if not drop or not facts["bad"]:
        return numbered.drop(ROW), {}
    counts = {"rows": facts["bad"]} | {name: facts[f"fault {name}"] for name in faults}
    counts |= {"blank lines": facts["blank"] - table.ragged, "ragged lines": table.ragged}
    dropped = {name: count for name, count in counts.items() if count}
    if facts["bad"] == facts["rows"]:
        raise UserError(
            f"{table.path}: every row is faulty ({dropped}): see the first by data.invalid=error."
        )
    return numbered.filter(~pl.any_horizontal(*faults.values(), blank)).drop(ROW), dropped


def with_points(rows: pl.LazyFrame, fields: Fields, decimal: Decimal) -> pl.LazyFrame:
    """The rows, with points for decimal commas where a column of numbers is text."""
    if decimal == "point":
        return rows
    named = {*fields.numeric, *fields.label_columns, fields.weight}
    texts = [name for name, dtype in rows.collect_schema().items() if dtype == pl.String]
    return rows.with_columns(
        # A fault is shown as it is.
        pl.when(stripped(column).str.contains(UNCLEAR))
        .then(pl.format("{} (thousands? data.decimal=comma)", column))
        .otherwise(column.str.replace(",", ".", literal=True))
        .name.keep()
        for column in (pl.col(name) for name in texts if name in named)
    )


def with_times(
    tables: dict[str, Table], rows: dict[str, pl.LazyFrame], name: str, form: TimeForm
) -> dict[str, pl.LazyFrame]:
    """The rows of each part with ``TIME``, read by its own type, form and unit: seconds, or numbers
    as they are where all parts have one unit. Raises UserError where days or units are unclear.
    """
    read = {part: _time_reading(table, rows[part], name, form) for part, table in tables.items()}
    plain = form.unit == "auto" and all(reading.per_second is None for reading, _ in read.values())
    as_they_are = plain and len({scale for _, scale in read.values()} - {None}) <= 1
    return {
        part: rows[part].with_columns(
            (reading.value / (1 if as_they_are else scale or 1)).cast(pl.Float64).alias(TIME)
        )
        for part, (reading, scale) in read.items()
    }


def _time_reading(
    table: Table, rows: pl.LazyFrame, name: str, form: TimeForm
) -> tuple[Reading, float | None]:
    """How the times of a part are read, and how many of their units make a second."""

    def facts(reading: Reading) -> dict[str, Any]:
        value = reading.value
        asked = [value.null_count().alias("time"), value.min().alias("least")]
        asked.append(value.max().alias("most"))
        return table.collect(rows.select(asked)).row(0, named=True)

    dtype = rows.collect_schema()[name]
    if dtype.is_nested() or dtype in (pl.Time, pl.Duration):
        raise UserError(f"{table.path}: column '{name}' holds {dtype}, which is no moment.")
    try:
        reading, found = time_reading(table, rows, name, form, facts)
    except ValueError as error:
        raise UserError(str(error)) from error
    if reading.per_second is not None or found["least"] is None:
        return reading, reading.per_second
    try:
        return reading, divisor(found["least"], found["most"], form.unit)
    except ValueError as error:
        raise UserError(f"{table.path}: column '{name}' {error}.") from error


def canonical(rows: pl.LazyFrame, fields: Fields) -> list[pl.Expr]:
    """The columns in the form in which two tables agree: ids, numbers and times as Float64, labels
    as 0 and 1, many values as List[String].
    """
    schema = rows.collect_schema()
    plain = {goal.column for goal in fields.targets.values() if goal.positive_from is None}
    numeric = {*fields.numeric, *fields.label_columns, fields.weight}
    categories = {*fields.categorical, fields.group}
    many = {*fields.multi_valued, fields.history}
    found = []
    for name, dtype in schema.items():
        if name == TIME:
            continue
        column, inner = pl.col(name), getattr(dtype, "inner", None)
        if name in plain:
            column = cells.labels(column, dtype, name)
        elif name in numeric:
            column = cells.numbers(column, dtype, name)
        elif name in many or (inner is not None and not inner.is_nested()):
            column = cells.sequences(column, dtype, fields.parted_by(name))
        elif name == fields.time and name not in categories:
            column = pl.col(TIME)
        elif not dtype.is_nested():
            column = ids(column, dtype)
        found.append(column.alias(name))
    return found


def _faults(schema: pl.Schema, fields: Fields) -> Iterator[tuple[str, pl.Expr]]:
    """By column where a row cannot be used: Boolean."""
    for goal in fields.targets.values():
        if (name := goal.column) is not None:
            read = cells.labels if goal.positive_from is None else cells.numbers
            yield name, read(pl.col(name), schema[name], name).is_null()
    if fields.time is not None:
        yield fields.time, pl.col(TIME).is_null()
    if fields.weight is not None:
        found = cells.numbers(pl.col(fields.weight), schema[fields.weight], fields.weight)
        yield fields.weight, (found.is_finite() & (found >= 0)).fill_null(value=False).not_()
    for name in fields.numeric:
        yield name, cells.is_word(pl.col(name), schema[name], name)
